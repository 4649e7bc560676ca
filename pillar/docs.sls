# The server of the documentation, as far as others go through it: an example to copy, with every setting. Those in
# comments show their defaults, or an example.

# A proxy for HTTP and HTTPS.
tinyproxy:
  # Where it is: for the servers that go through it, which have this too.
  url: http://proxy.example.com:8888
  # no_proxy: localhost,127.0.0.1
  # Addresses, networks or names of those that may. Nobody else is let through.
  allow:
    - 192.0.2.23
    - 2001:db8::23
  # One address, rather than all.
  # listen: 192.0.2.1
  port: 8888
  # The ports that may be reached with CONNECT, which is what HTTPS goes through.
  connect_ports:
    - 443
    - 563
  max_clients: 100
  # Seconds.
  timeout: 600
