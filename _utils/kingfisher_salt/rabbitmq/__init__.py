"""Look at RabbitMQ's queues, publish to them, and purge them into files that can be restored."""
