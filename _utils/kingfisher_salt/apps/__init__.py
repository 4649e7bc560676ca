"""Run the commands of an application, in its container or without one."""
