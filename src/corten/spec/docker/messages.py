"""Texts of the Docker API about containers that clients match or people know by heart. Pure data; daemon.

docker-py and the docker CLI decide on some of these words (404 "No such image", "is not running"), so that they are
part of the contract. `%` forms take the values named beside them.
"""

from __future__ import annotations

NO_SUCH_CONTAINER = "No such container: {0}"
NO_SUCH_EXEC = "No such exec instance: {0}"
AMBIGUOUS_ID = "multiple IDs found with provided prefix: {0}"
EMPTY_CONFIG = "config cannot be empty in order to create a container"
NO_COMMAND = "no command specified"
INVALID_NAME = "Invalid container name ({0}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
EMPTY_NAME = "Neither old nor new names may be empty"
SAME_NAME = "Renaming a container with the same name as its current name"
NAME_IN_USE = (
    'Conflict. The container name "/{0}" is already in use by container "{1}". '
    "You have to remove (or rename) that container to be able to reuse that name."
)
NOT_RUNNING = "container {0} is not running"
PAUSED_EXEC = "container {0} is paused, unpause the container before exec"
RESTARTING_WAIT = "container {0} is restarting, wait until the container is running"
CANNOT_KILL = "cannot kill container: {0}: container {1} is not running"
CANNOT_START_PAUSED = "cannot start a paused container, try unpause instead"
MARKED_FOR_REMOVAL = "container is marked for removal and cannot be started"
ALREADY_PAUSED = "container {0} is already paused"
NOT_PAUSED = "container {0} is not paused"
CANNOT_PAUSE_RESTARTING = "container {0} is restarting, wait until the container is running"
REMOVE_RUNNING = (
    'cannot remove container "/{0}": container is running: stop the container before removing or force remove'
)
REMOVE_PAUSED = (
    'cannot remove container "/{0}": container is paused and must be unpaused first before removing or force remove'
)
REMOVE_RESTARTING = (
    'cannot remove container "/{0}": container is restarting: stop the container before removing or force remove'
)
REMOVAL_IN_PROGRESS = "removal of container {0} is already in progress"
ATTACH_PAUSED = "You cannot attach to a paused container, unpause it first"
ATTACH_RESTARTING = "You cannot attach to a restarting container, wait until it is running"
INVALID_SIGNAL = "invalid signal: {0}"
INVALID_CONDITION = 'invalid condition: "{0}"'
EXEC_ALREADY_RUN = "Error: Exec command {0} has already run"
EXEC_NO_COMMAND = "No exec command specified"
EXEC_NOT_RUNNING = "Exec command {0} is not running"
START_FAILED = (
    "failed to create task for container: failed to create shim task: OCI runtime create failed: "
    "runc create failed: unable to start container process: {0}: unknown"
)
EXEC_FAILED = "OCI runtime exec failed: exec failed: unable to start container process: {0}: unknown"
