"""
Check a Software Heritage deposit server, as Icinga does, and set the password of its database.

:configuration: pillar ``deposit`` and in it ``check``; for the password, ``server``. The settings are described in
    docs/deposit.md.
:depends: psycopg2, requests
"""

from salt.exceptions import CommandExecutionError

try:
    from kingfisher_salt.deposit import check as deposit_check
    from kingfisher_salt.deposit import role
    from kingfisher_salt.errors import KingfisherError

    MISSING = None
except ImportError as e:
    MISSING = e.name

# Salt puts the functions of all files with this name together.
__virtualname__ = "deposit"


def __virtual__():
    return __virtualname__  # even if something is missing: see _modules/kingfisher.py


def check(dry_run=False, **settings):
    """
    Deposit a small archive as the test client, follow it until it is in the archive, and tell how that went.

    Returns one line by the convention of the monitoring plugins, with performance data: ``DEPOSIT OK``, ``WARNING``,
    ``CRITICAL`` or ``UNKNOWN``, the deposit's id, and the stage that was slow or that failed. The return code is 0, 1,
    2 or 3. A deposit that an earlier check left under way is followed, and no other one made.

    dry_run
        Whether to deposit nothing, and to check the server, its database, pending migrations, the scheduler, and
        whether deposits are stuck.
    settings
        Any setting of ``deposit:check`` but the password: ``warning`` and ``critical`` in seconds, ``url``,
        ``username``, ``collection``, ``origin_url``, ``poll_interval``, ``timeout``.

    CLI Example:

    .. code-block:: bash

        salt 'deposit' deposit.check dry_run=True
        salt 'deposit' deposit.check warning=60 critical=600
        salt-call --local --retcode-passthrough --out=newline_values_only deposit.check
    """
    _require_library()
    arguments = {name: value for name, value in settings.items() if not name.startswith("__")}
    name = deposit_check.HEALTH if dry_run else deposit_check.END_TO_END
    report = deposit_check.run(name, __salt__["config.get"]("deposit", {}), arguments)
    __context__["retcode"] = int(report.state)
    return report.line


def database_password(dry_run=False):
    """
    Give the database's role, on this host, the password of pillar ``deposit:server:config:private:db``.

    Returns whether it was changed. PostgreSQL gets no more than what it stores of a password, on the standard input of
    psql.

    dry_run
        Whether to tell whether it differs, and to change nothing.

    CLI Example:

    .. code-block:: bash

        salt 'deposit' deposit.database_password dry_run=True
    """
    _require_library()
    deposit = __salt__["config.get"]("deposit", {})
    db = deposit.get("server", {}).get("config", {}).get("private", {}).get("db", {})
    try:
        if role.is_current(db):
            return False
        if not dry_run:
            role.set_password(db)
    except KingfisherError as e:
        raise CommandExecutionError(str(e)) from e
    return True


def _require_library():
    if MISSING:
        raise CommandExecutionError(f"deposit: {MISSING} is not installed: salt 'ID' state.apply minion")
