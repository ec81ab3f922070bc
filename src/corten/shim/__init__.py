"""Between daemon and container: the zygote that forks, the shim that stays, and the client of both."""
