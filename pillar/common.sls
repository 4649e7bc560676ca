# What all servers have: an example to copy. What is only for one server is in its own file, under the same keys.

maintenance:
  # True stops every timer, cron job, worker and backup that our states own, and nothing else, until it is False again.
  halted: False

# Who has an account, besides root. Of one that is removed here, the login is closed, and the home is kept.
users:
  james:
    fullname: James Example
    # groups: [adm]
    # shell: /bin/bash
    # uid: 1100
    ssh:
      - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOexampleexampleexampleexampleexampleexample1 james@example.com
    # As in sudoers(5), after HOST=.
    sudo:
      - '(ALL) NOPASSWD: ALL'

# More keys, by user: of root on every server (admin), of root on this one, and of users that other states make.
ssh:
  admin:
    - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOexampleexampleexampleexampleexampleexample2 sysadmin@example.com
  root: []
  # incremental:
  #   - ssh-rsa AAAAB3N…

system_contacts:
  # Root's mail goes there, with that of daemons.
  root: sysadmin@example.com
  # What cron jobs of our states print goes there, unless their section has a mailto of its own.
  cron_admin: sysadmin@example.com

# Without it, the time is left alone.
time:
  timezone: Etc/UTC
  # timesyncd, or chrony.
  client: timesyncd
  servers:
    - 0.pool.ntp.org
    - 1.pool.ntp.org
