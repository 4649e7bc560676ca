"""What every server has, and applications in Python, on a booted host: made, changed, halted, restored, removed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.fleet.fleet import Fleet
from tests.fleet.hosts import Host
from tests.fleet.salt_master import Master

KEYS = [f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{letter * 43} {letter.lower()}@example.com" for letter in "ABCDE"]
TOKEN = "t0ken-of-the-application"
FILES = "/etc/cron.d /etc/sudoers.d /etc/systemd/system /etc/aliases /etc/passwd /etc/group /etc/python-apps"


class Server:
    """A host with its pillar."""

    def __init__(self, host: Host, master: Master):
        self.host, self.master = host, master
        self.pillar: dict[str, Any] = {
            "users": {
                "james": {"fullname": "James", "ssh": [KEYS[0]], "sudo": ["(ALL) NOPASSWD: ALL"]},
                "camila": {"ssh": [KEYS[1]]},
            },
            "ssh": {"admin": [KEYS[2]], "root": [KEYS[3]]},
            "system_contacts": {"root": "root@example.com", "cron_admin": "cron@example.com"},
            "time": {"timezone": "America/Guatemala", "servers": ["ntp.example.com"]},
            "python_apps": {
                "example_app": {
                    "user": "example",
                    "git": {"url": "/srv/app.git"},
                    "env": {"TOKEN": TOKEN, "PRICE": "5 $ 100%"},
                    "services": {"worker": {"command": "python worker.py"}},
                    "timers": {"report": {"command": "python report.py", "calendar": "daily"}},
                    "cron": {"run": {"command": "python run.py 100%", "minute": 5, "hour": 4}},
                }
            },
        }

    def apply(self, *, test: bool = False, check: bool = True) -> Any:
        self.master.set_pillar(self.host, self.pillar)
        return self.master.apply(self.host, "core,python_apps", test=test, check=check)

    def run(self, command: str, *, check: bool = True) -> str:
        return self.host.run(command, check=check).stdout

    def files(self) -> str:
        """Return what a halt may take away, byte for byte, and whether units are on."""
        names = f"find {FILES} ~root/.ssh /home/*/.ssh -type f -o -type l"
        units = "systemctl is-enabled python-app-example-app-worker.service python-app-example-app-report.timer"
        return self.run(f"{names} | sort | xargs sha256sum; {units}; true")


@pytest.fixture(scope="module")
def server(fleet: Fleet, master: Master) -> Iterator[Server]:
    """Return a bare host, with a repository for an application."""
    host = fleet.host("core")
    host.run(
        "apt-get install --yes --no-install-recommends git >/dev/null; mkdir /tmp/app; cd /tmp/app; git init -qb main;"
        "touch requirements.txt; printf 'import time\\ntime.sleep(1e6)' >worker.py; touch report.py run.py; git add .;"
        "git -c user.name=a -c user.email=a@b commit -qm 1; git clone -q --bare . /srv/app.git; chmod -R a+rX /srv;"
        "git config --system safe.directory '*'"
    )
    master.accept(host)
    yield Server(host, master)
    fleet.throw_away(host)


def test_a_trial_predicts_and_touches_nothing(server: Server) -> None:
    server.master.call(server.host, "saltutil.sync_all")
    before = server.run(
        "find /etc /home /var/lib /root -newer /srv/app.git/HEAD -type f | grep -v salt; getent passwd"
    )
    trial = server.apply(test=True).states  # Salt's own states tell of a change by their result alone
    predicted = {
        name.partition(": ")[0] for name, state in trial.items() if state["result"] is None or state["changes"]
    }
    after = server.run("find /etc /home /var/lib /root -newer /srv/app.git/HEAD -type f | grep -v salt; getent passwd")
    assert after == before
    assert server.apply().ids == predicted
    assert server.apply().ids == set()


def test_users_have_keys_sudo_and_mail(server: Server) -> None:
    assert server.run("runuser -u james -- sudo -n id -un") == "root\n"
    assert server.host.run("runuser -u camila -- sudo -n true", check=False).returncode
    assert KEYS[0] in server.run("cat ~james/.ssh/authorized_keys")
    assert server.run("stat -c %U:%a ~james/.ssh ~james/.ssh/authorized_keys") == "james:700\njames:600\n"
    assert {*KEYS[2:4]} <= {*server.run("cat ~root/.ssh/authorized_keys").splitlines()}
    assert "root: root@example.com" in server.run("cat /etc/aliases")
    assert server.run("readlink -f /etc/localtime").endswith("America/Guatemala\n")
    assert "NTP=ntp.example.com" in server.run("cat /etc/systemd/timesyncd.conf.d/kingfisher.conf")


def test_an_application_runs_with_its_environment(server: Server) -> None:
    assert server.run("systemctl is-active python-app-example-app-worker") == "active\n"
    pid = server.run("systemctl show -P MainPID python-app-example-app-worker").strip()
    environment = server.run(f"tr '\\0' '\\n' </proc/{pid}/environ")
    assert f"TOKEN={TOKEN}" in environment
    assert "PRICE=5 $ 100%" in environment
    line = (
        server.run("tail -1 /etc/cron.d/python-app-example-app").strip().split(" example ", 1)[1].replace("\\%", "%")
    )
    said = server.run(f"runuser -u example -- sh -c {line.replace('python run.py 100%', 'echo $PRICE')!r}")
    assert said == "5 $ 100%\n"
    assert "MAILTO=cron@example.com" in server.run("cat /etc/cron.d/python-app-example-app")


def test_a_secret_is_for_its_user_alone(server: Server) -> None:
    found = server.run(f"grep -rlsF {TOKEN} /etc /home /opt /srv /var/lib /var/log /run || true").split()
    assert [name for name in found if "/salt/" not in name] == ["/etc/python-apps/example_app.env"]
    assert server.run("stat -c %U:%a /etc/python-apps/example_app.env") == "example:600\n"
    assert TOKEN not in server.run("journalctl --no-pager")


def test_halted_and_restored_byte_for_byte(server: Server) -> None:
    before = server.files()
    server.pillar["maintenance"] = {"halted": True}
    server.apply()
    assert server.host.run("systemctl is-active python-app-example-app-worker", check=False).stdout == "inactive\n"
    assert (
        server.host.run("systemctl is-active python-app-example-app-report.timer", check=False).stdout == "inactive\n"
    )
    assert not server.host.exists("/etc/cron.d/python-app-example-app")
    assert server.run("systemctl is-active ssh") == "active\n"
    assert server.apply().ids == set()
    server.pillar["maintenance"] = {"halted": False}
    server.apply()
    assert server.files() == before
    assert server.run("systemctl is-active python-app-example-app-worker") == "active\n"


def test_all_is_up_after_a_reboot(server: Server) -> None:
    server.host.reboot()
    assert server.run("systemctl is-active python-app-example-app-worker") == "active\n"
    server.master.accept(server.host)
    assert server.apply().ids == set()


def test_a_mistyped_key_changes_nothing(server: Server) -> None:
    before = server.files()
    server.pillar["users"]["james"]["shh"] = []
    server.pillar["system_contacts"]["rot"] = "x@example.com"
    server.pillar["ssh"]["root"].append(KEYS[4])
    applied = server.apply(check=False)
    del server.pillar["users"]["james"]["shh"], server.pillar["system_contacts"]["rot"]
    server.pillar["ssh"]["root"].pop()
    ((comment, _),) = applied.failed.values()
    assert "users:james:shh is not a setting: did you mean ssh?" in comment
    assert "system_contacts:rot is not a setting: did you mean root?" in comment
    assert server.files() == before


def test_root_is_never_left_without_a_key(server: Server) -> None:
    own = server.run("cat ~root/.ssh/authorized_keys").splitlines()[0]
    kept = server.pillar.pop("ssh")
    server.apply()
    assert server.run("cat ~root/.ssh/authorized_keys").splitlines() == [own]
    server.pillar["ssh"] = kept
    server.apply()
    sshd = "AuthorizedKeysFile .ssh/authorized_keys /etc/ssh/fleet_keys"
    server.run(
        f"echo '{own}' >/etc/ssh/fleet_keys; echo '{sshd}' >/etc/ssh/sshd_config.d/fleet.conf; systemctl reload ssh"
    )
    server.run("sed -i 1d ~root/.ssh/authorized_keys")
    server.pillar.pop("ssh")
    failed = server.apply(check=False).failed
    assert "root would be left without a single ssh key" in str(failed)
    assert KEYS[2] in server.run("cat ~root/.ssh/authorized_keys")
    server.pillar["ssh"] = kept
    server.apply()


def test_a_user_who_leaves_may_not_log_in_and_comes_back(server: Server) -> None:
    james = server.pillar["users"].pop("james")
    applied = server.apply()
    assert "the home is kept" in str(applied.states)
    assert not server.host.exists("/etc/sudoers.d/kingfisher-james")
    assert server.host.exists("/home/james/.ssh/authorized_keys")
    assert KEYS[0] not in server.run("cat ~james/.ssh/authorized_keys")
    assert "expired" in server.host.run("su james -c true </dev/null 2>&1; chage -l james", check=False).stdout
    assert server.apply().ids == set()
    server.pillar["users"]["james"] = james
    server.apply()
    assert server.run("runuser -u james -- sudo -n id -un") == "root\n"
    assert server.apply().ids == set()


def test_a_group_that_leaves_pillar_is_left_unless_others_gave_it(server: Server) -> None:
    james = server.pillar["users"]["james"]
    server.run("gpasswd --add james games; gpasswd --add james audio")
    james["groups"] = ["adm", "games"]
    server.apply()
    assert {*server.run("id -Gn james").split()} == {"james", "adm", "games", "audio"}
    assert server.apply().ids == set()
    del james["groups"]
    assert server.apply(test=True).predicted == {"core-owned"}
    assert "sessions that are open keep james:adm" in str(server.apply().states)
    assert {*server.run("id -Gn james").split()} == {"james", "games", "audio"}
    assert server.apply().ids == set()


def test_keys_leave_with_the_last_of_a_list(server: Server) -> None:
    server.pillar["ssh"]["example"] = [KEYS[4]]
    server.apply()
    assert KEYS[4] in server.run("cat ~example/.ssh/authorized_keys")
    server.pillar["ssh"]["example"] = []
    server.apply()
    assert server.run("cat ~example/.ssh/authorized_keys") == ""
    assert server.apply().ids == set()


def test_what_leaves_pillar_leaves_the_server(server: Server) -> None:
    for section in ("users", "system_contacts", "time", "python_apps"):
        del server.pillar[section]
    server.apply()
    left = server.run(f"find {FILES} -type f | grep -e python-app -e kingfisher || true")
    assert left == ""
    assert server.host.run("systemctl status python-app-example-app-worker", check=False).returncode
    assert "root@example.com" not in server.run("cat /etc/aliases")
    assert server.host.exists("/home/example/example-app/worker.py")
    assert server.apply().ids == set()
