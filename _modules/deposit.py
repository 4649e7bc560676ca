"""
Look after a Software Heritage deposit server: its deposits, clients, collections and migrations.

:configuration: pillar ``deposit``. The settings configuration_file, bin_directory, platform, user, timeout,
    migrate_timeout and lock_timeout can be given as arguments instead. They are described in docs/deposit.md. The
    database is that of the configuration file.
:depends: psycopg2
"""

import logging

import salt.utils.args
from salt.exceptions import CommandExecutionError, SaltInvocationError

try:
    from kingfisher_salt.deposit import clients as deposit_clients
    from kingfisher_salt.deposit import config as deposit_config
    from kingfisher_salt.deposit import deposits as deposit_deposits
    from kingfisher_salt.deposit import migrations as deposit_migrations
    from kingfisher_salt.deposit import reschedule as deposit_reschedule
    from kingfisher_salt.deposit import server_file as deposit_server_file
    from kingfisher_salt.errors import KingfisherError
    from kingfisher_salt.fit import fit

    MISSING = None
except ImportError as e:
    MISSING = e.name

LOG = logging.getLogger(__name__)

__virtualname__ = "deposit"
__func_alias__ = {"list_": "list"}


def __virtual__():
    if MISSING:
        return False, f"deposit: {MISSING} is not installed: salt 'ID' state.apply minion"
    return __virtualname__


def reschedule(deposit=None, status=None, since=None, dry_run=False, **configuration):
    """
    Load deposits again: reset them to verified, drop their identifiers, and make their loading tasks due.

    The scheduler is asked first. A deposit is saved only if its task was made due, so that none is left verified
    without one; one that was left so before is repaired. Returns ``deposits``, by id, each with ``outcome``
    (``rescheduled``, ``already_scheduled``, ``refused``, ``unknown``, ``no_task`` or ``failed``), ``comment``, the
    status ``before`` and now, and the ``swhid`` and ``swhid_context`` that were dropped; ``summary``, how many of each
    outcome; and ``failed``, a sentence for each that is not scheduled now.

    deposit
        The id, or a list of them.
    status
        Instead of ids: ``failed``, ``verified`` or ``done``, for all deposits of that status.
    since
        With ``status``: only deposits that were complete or received since then, like 2026-01-31. With ``done``, it is
        needed.
    dry_run
        Whether to tell what would be done, and to change nothing.

    CLI Example:

    .. code-block:: bash

        salt 'deposit' deposit.reschedule 1234
        salt 'deposit' deposit.reschedule '[1234, 1235]' dry_run=True
        salt 'deposit' deposit.reschedule status=failed since=2026-01-31
    """
    if (deposit is None) == (status is None):
        raise SaltInvocationError("give either argument deposit, an id or a list of them, or argument status")
    if since is not None and status is None:
        raise SaltInvocationError("argument since is for argument status: leave it out, or give status=failed")
    ids = None if deposit is None else _parsed("deposit", deposit_reschedule.parse_ids, deposit)
    time = None if since is None else _parsed("since", deposit_reschedule.parse_time, since)
    return _call(
        configuration,
        lambda config, server: deposit_reschedule.reschedule(
            config, server, ids=ids, status=status, since=time, dry_run=dry_run
        ),
    )


def status(deposit, **configuration):
    """
    Return all that is known of a deposit.

    deposit
        The id.

    CLI Example:

    .. code-block:: bash

        salt 'deposit' deposit.status 1234
    """
    ids = _parsed("deposit", deposit_reschedule.parse_ids, deposit)
    if len(ids) != 1:
        raise SaltInvocationError(f"argument deposit must be one number, not {deposit!r}")
    return _call(configuration, lambda _, server: deposit_deposits.status(server, ids[0]))


def list_(status=None, client=None, older_than=None, limit=100, **configuration):
    """
    Return deposits in brief, the newest first.

    status
        Only those of a status: partial, expired, deposited, verified, rejected, loading, done or failed.
    client
        Only those of a client.
    older_than
        Only those that were complete, or else received, more than this many hours ago.
    limit
        How many at most, up to 1000.

    CLI Example:

    .. code-block:: bash

        salt 'deposit' deposit.list status=failed
        salt 'deposit' deposit.list client=hal older_than=48 limit=1000
    """
    _check_number("limit", limit, (int,), 1, deposit_deposits.MOST)
    if older_than is not None:
        _check_number("older_than", older_than, (int, float), 0, 1_000_000)
    return _call(
        configuration,
        lambda _, server: deposit_deposits.listing(
            server, status=status, client=client, older_than=older_than, limit=limit
        ),
    )


def stuck(**configuration):
    """
    Return the deposits that are partial, deposited, verified or loading for longer than ``stuck_hours`` in pillar.

    Returns ``deposits``, the oldest first, each with its ``hours``, the status of its loading ``task`` and what to do
    ``next``; ``summary``, how many of each status; and ``notes``.

    CLI Example:

    .. code-block:: bash

        salt 'deposit' deposit.stuck
    """
    return _call(configuration, deposit_deposits.stuck)


def migrations(**configuration):
    """
    Return the migrations that were ``applied``, that are ``pending`` and, after a downgrade, ``unknown``.

    CLI Example:

    .. code-block:: bash

        salt 'deposit' deposit.migrations
    """
    return _call(configuration, deposit_migrations.migrations)


def migrate(dry_run=False, **configuration):
    """
    Apply the migrations that are pending, unless another migration runs.

    It waits ``lock_timeout`` seconds for whoever uses a table, and then says who that is. What was applied before
    stays. Returns ``applied``, ``pending`` and ``unknown``.

    dry_run
        Whether to return instead what is ``pending``, and the sessions that it would wait for now (``blocked_by``).

    CLI Example:

    .. code-block:: bash

        salt 'deposit' deposit.migrate dry_run=True
        salt 'deposit' deposit.migrate
    """
    return _call(configuration, lambda config, server: deposit_migrations.migrate(config, server, dry_run=dry_run))


def client_create(username, collections=None, password_file=None, password_env=None, dry_run=False, **fields):
    """
    Create a client. Collections that are missing are created. Returns ``username`` and ``changes``.

    The password is that of ``clients`` in pillar (password, password_file or password_env), unless an argument says
    where else it is. If Keycloak keeps the passwords, there must be none.

    username
        The name.
    collections
        The collections that it may deposit into, a name or a list. The default is one of its own name.
    password_file
        A file that has the password, with mode 0600.
    password_env
        A variable, in the environment of the minion or of salt-call, that has the password.
    dry_run
        Whether to tell what would be done, and to change nothing.

    All other arguments are first_name, last_name, email, is_active, provider_url, domain, and settings.

    CLI Example:

    .. code-block:: bash

        salt 'deposit' deposit.client_create hal provider_url=https://hal.science/ domain=hal.science
    """
    return _save(username, collections, password_file, password_env, fields, create=True, dry_run=dry_run)


def client_update(
    username,
    collections=None,
    password_file=None,
    password_env=None,
    pillar_password=False,
    dry_run=False,
    **fields,
):
    """
    Change what is given of a client, and leave all else as it is. Returns ``username`` and ``changes``.

    If nothing is given, the password in pillar is set, if the client has another. The other arguments are those of
    ``client_create``; is_active=False keeps a client from depositing.

    pillar_password
        Whether to do so beside what is given, unless ``password_file`` or ``password_env`` is among it.

    CLI Example:

    .. code-block:: bash

        salt 'deposit' deposit.client_update hal email=deposit@hal.science
        salt 'deposit' deposit.client_update hal
        salt 'deposit' deposit.client_update hal password_file=/root/hal-password dry_run=True
    """
    options = {"pillar_password": pillar_password, "dry_run": dry_run}
    return _save(username, collections, password_file, password_env, fields, create=False, **options)


def client_delete(username, dry_run=False, **configuration):
    """
    Delete a client who has never deposited. Returns True.

    username
        The name.
    dry_run
        Whether to tell whether it can be, and to change nothing.

    CLI Example:

    .. code-block:: bash

        salt 'deposit' deposit.client_delete hal
    """

    def run(config, server):
        deposit_clients.delete(config, server, str(username), dry_run=dry_run)
        return True

    return _call(configuration, run)


def client_list(**configuration):
    """
    Return all clients, by name, with their collections and how many deposits they made.

    CLI Example:

    .. code-block:: bash

        salt 'deposit' deposit.client_list
    """
    return _call(configuration, lambda _, server: deposit_clients.listing(server))


def client_show(username, **configuration):
    """
    Return a client.

    username
        The name.

    CLI Example:

    .. code-block:: bash

        salt 'deposit' deposit.client_show hal
    """
    return _call(configuration, lambda _, server: deposit_clients.show(server, str(username)))


def collection_create(name, dry_run=False, **configuration):
    """
    Create a collection, unless there is one of the name. Returns ``name``, and ``created``.

    name
        The name.
    dry_run
        Whether to tell whether it would be created, and to change nothing.

    CLI Example:

    .. code-block:: bash

        salt 'deposit' deposit.collection_create hal
    """
    return _call(
        configuration,
        lambda config, server: deposit_clients.create_collection(config, server, str(name), dry_run=dry_run),
    )


def collection_list(**configuration):
    """
    Return all collections, by name, with their clients and how many deposits they have.

    CLI Example:

    .. code-block:: bash

        salt 'deposit' deposit.collection_list
    """
    return _call(configuration, lambda _, server: deposit_clients.collections(server))


def _save(username, collections, password_file, password_env, fields, *, create, **options):
    given = salt.utils.args.clean_kwargs(**fields)
    client = {name: given.pop(name) for name in deposit_clients.FIELDS if name in given}
    if "password" in given:
        raise SaltInvocationError(
            "argument password is a secret, which an argument would show to everyone: set "
            f"deposit:clients:{username}:password in pillar, or give password_file or password_env"
        )
    client |= {"collections": collections, "password_file": password_file, "password_env": password_env}
    return _call(
        given,
        lambda config, server: deposit_clients.save(config, server, str(username), client, create=create, **options),
        options=[*client, *options],
    )


def _parsed(argument, parse, given):
    try:
        return parse(given)
    except ValueError as e:
        raise SaltInvocationError(f"argument {argument} {e}") from e


def _check_number(argument, value, types, least, most):
    if isinstance(value, bool) or not isinstance(value, types) or not least <= value <= most:
        raise SaltInvocationError(f"argument {argument} must be a number from {least} to {most}, not {value!r}")


def _call(configuration, function, options=()):
    """Read the settings and the server's own file, call the library, and turn its errors into Salt's."""
    arguments = salt.utils.args.clean_kwargs(**configuration)
    try:
        pillar = __salt__["config.get"](deposit_config.ROOT, {})
        config = deposit_config.load(pillar, arguments, options)
        result = fit(function(config, deposit_server_file.read(config)))
    except KingfisherError as e:
        raise CommandExecutionError(str(e)) from e
    if isinstance(result, dict) and result.get("failed"):
        __context__["retcode"] = 1
        for sentence in result["failed"].values():
            LOG.error(sentence)
    return result
