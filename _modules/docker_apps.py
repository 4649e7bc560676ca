"""
Update, roll back, watch and run commands of the applications that run under Docker Compose.

:configuration: pillar ``docker_apps``, whose settings are described in docs/docker-apps.md; and
    ``maintenance:halted``, which stops their workers
"""

from pathlib import Path

from salt.exceptions import CommandExecutionError, SaltInvocationError

try:
    from kingfisher_salt.docker_apps import change as apps_change
    from kingfisher_salt.docker_apps import config as apps_config
    from kingfisher_salt.docker_apps import look as apps_look
    from kingfisher_salt.docker_apps import prune as apps_prune
    from kingfisher_salt.errors import KingfisherError

    MISSING = None
except ImportError as e:
    MISSING = e.name

__virtualname__ = "docker_apps"

#: The most lines of a log that are returned.
MAX_LINES = 10_000


def __virtual__():
    if MISSING:
        return False, f"docker_apps: {MISSING} is not installed: salt 'ID' state.apply minion"
    return __virtualname__


def status(app=None):
    """
    Return how an application is, or each of them.

    Returns ``directory``; ``services``, each with ``containers``, ``image``, ``id``, ``digest`` and ``restarts``;
    ``problems``; ``pending``, what the next ``state.apply`` would change; ``halted``; ``held_since``, if it was
    rolled back; and ``before``, the images that it can be rolled back to. The return code is 1 if there are problems.

    app
        The application, as in pillar. The default is all of them.

    CLI Example:

    .. code-block:: bash

        salt 'registry' docker_apps.status
        salt 'registry' docker_apps.status kingfisher_process
    """
    names = _pillar() if app is None else [str(app)]
    result = {name: _call(apps_look.status, name) for name in names}
    if any(found["problems"] for found in result.values()):
        __context__["retcode"] = 1
    return result if app is None else result[str(app)]


def update(app, dry_run=False):
    """
    Pull an application's images, migrate its database, bring it up, and roll back if it is not well then.

    Returns ``changes``, by service; ``migrated``; and ``comment``. If a migration fails, what ran before still runs.
    If this is killed, it can be run again.

    app
        The application, as in pillar.
    dry_run
        Whether to tell what runs now, and to change nothing. What would be pulled is not known before.

    CLI Example:

    .. code-block:: bash

        salt 'registry' docker_apps.update kingfisher_process dry_run=True
        salt 'registry' docker_apps.update kingfisher_process
    """
    return _call(apps_change.update, app, dry_run=bool(dry_run))


def rollback(app, dry_run=False):
    """
    Go back to the images before the last update. Migrations are not undone.

    They stay until ``update``, or until pillar names others. Returns ``changes``, by service, and ``comment``.

    app
        The application, as in pillar.
    dry_run
        Whether to tell which images these are, and to change nothing.

    CLI Example:

    .. code-block:: bash

        salt 'registry' docker_apps.rollback kingfisher_process
    """
    return _call(apps_change.rollback, app, dry_run=bool(dry_run))


def up(app, dry_run=False):
    """
    Make an application what its compose file says. Images that are here already are not pulled again.

    Returns ``changes``, by service; ``held``, whether it stays at images that it was rolled back to; and ``comment``.

    app
        The application, as in pillar.
    dry_run
        Whether to tell what would change, and to change nothing.

    CLI Example:

    .. code-block:: bash

        salt 'registry' docker_apps.up kingfisher_process
    """
    return _call(apps_change.up, app, dry_run=bool(dry_run))


def stop(app, services=None, dry_run=False):
    """
    Stop an application, or some of its services. The next ``state.apply`` starts them again.

    Returns ``changes``, by service, and ``comment``.

    app
        The application, as in pillar.
    services
        A list of services. The default is all of them.
    dry_run
        Whether to tell what would be stopped, and to change nothing.

    CLI Example:

    .. code-block:: bash

        salt 'registry' docker_apps.stop kingfisher_process services='[api_loader, file_worker]'
    """
    names = [services] if isinstance(services, str) else services
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise SaltInvocationError(f"argument services must be a list of services, not {services!r}")
    return _call(apps_change.stop, app, names, dry_run=bool(dry_run))


def logs(app, service=None, lines=100):
    """
    Return the last lines that an application's containers wrote. Secrets of its ``env`` are left out.

    app
        The application, as in pillar.
    service
        The service. The default is all of them.
    lines
        How many lines of each container.

    CLI Example:

    .. code-block:: bash

        salt 'registry' docker_apps.logs registry service=web lines=50
    """
    if isinstance(lines, bool) or not isinstance(lines, int) or not 1 <= lines <= MAX_LINES:
        raise SaltInvocationError(f"argument lines must be a whole number from 1 to {MAX_LINES}, not {lines!r}")
    return _call(apps_look.logs, app, None if service is None else str(service), lines)


def run(app, command, service=None, timeout=None, dry_run=False):
    """
    Run a command of an application in a container of its own.

    Returns ``service``, ``command``, ``code``, ``stdout`` and ``stderr``. The return code is 1 if that of the command
    is not 0. Everybody on the server can read the command: leave secrets out of it.

    app
        The application, as in pillar.
    command
        The command, as text or as a list of words. No shell reads it.
    service
        The service whose image has it. The default is that in pillar, else the first of the compose file.
    timeout
        For how long it may take, in seconds. The default is that in pillar.
    dry_run
        Whether to check all of that, and to run nothing.

    CLI Example:

    .. code-block:: bash

        salt 'registry' docker_apps.run registry 'python manage.py showmigrations'
    """
    if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or timeout <= 0):
        raise SaltInvocationError(f"argument timeout must be a number greater than 0, not {timeout!r}")
    words = command if isinstance(command, list) else str(command)
    result = _call(
        apps_look.run, app, words, None if service is None else str(service), timeout, dry_run=bool(dry_run)
    )
    if result.get("code"):
        __context__["retcode"] = 1
    return result


def prune(dry_run=False):
    """
    Take down the applications that have left pillar, with their networks and files. Volumes are kept.

    Returns ``changes``, by application, and ``notes``: what is kept.

    dry_run
        Whether to tell which those are, and to change nothing.

    CLI Example:

    .. code-block:: bash

        salt 'registry' docker_apps.prune dry_run=True
    """
    try:
        apps = {name: apps_config.load(_pillar(), name).directory for name in _pillar()}
        return apps_prune.prune(_state_directory(), apps, dry_run=bool(dry_run))
    except KingfisherError as e:
        raise CommandExecutionError(str(e)) from e
    except OSError as e:
        raise CommandExecutionError(f"{e.filename}: {e.strerror}: let root do that, and run this again") from e


def check():
    """
    Return what is wrong with pillar ``docker`` and ``docker_apps``, one sentence each, without changing anything.

    ``docker:uid`` has to agree with /etc/passwd.

    CLI Example:

    .. code-block:: bash

        salt 'registry' docker_apps.check
    """
    problems = __salt__["kingfisher_pillar.problems"](required=["docker"], optional=["docker_apps"])
    if problems:
        __context__["retcode"] = 1
    return problems


def _call(function, app, *args, **kwargs):
    """Read the settings, call the library, and turn its errors into Salt's."""
    try:
        halted = (__salt__["config.get"]("maintenance", {}) or {}).get("halted") is True
        config = apps_config.load(_pillar(), str(app), halted=halted, state_directory=_state_directory())
        return function(config, *args, **kwargs)
    except KingfisherError as e:
        raise CommandExecutionError(str(e)) from e
    except OSError as e:
        raise CommandExecutionError(f"{e.filename}: {e.strerror}: let root do that, and run this again") from e


def _pillar():
    pillar = __salt__["config.get"](apps_config.ROOT, {}) or {}
    if not isinstance(pillar, dict):
        raise SaltInvocationError(f"{apps_config.ROOT} in pillar must map names of applications to settings")
    return pillar


def _state_directory():
    return Path(apps_config.STATE_DIRECTORY)
