"""A RabbitMQ server of Debian's: its users, virtual hosts, permissions and policies."""
