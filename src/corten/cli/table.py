"""Every command: its words, the module under `commands/` that has it, the attribute there, and what it does.

`main` reads one row and imports one module. Help, suggestions and completion read all rows. Words that share module and
attribute are aliases.
"""

from __future__ import annotations

Row = tuple[str, str, str]  # module, attribute, summary

# In the order of `corten --help`.
COMMON = ("run", "exec", "ps", "pull", "push", "images", "login", "logout", "search", "version", "info")
GROUPS = {
    "builder": "Build, and manage the build cache",
    "buildx": "Build, and manage the build cache, in buildx's words",
    "container": "Manage containers",
    "context": "Show where commands are sent",
    "image": "Manage images",
    "network": "Manage networks",
    "service": "Show services: addresses whose connections are spread over containers",
    "system": "Manage the engine as a whole",
    "volume": "Manage volumes",
}
# Served by other parts of Corten, which parse their own arguments.
OTHER = {
    "daemon": "Run the engine (`corten daemon stop` ends it)",
    "oci": "Run containers from OCI bundles, as an OCI runtime",
}
ALIASES = {
    "container list": "container ls",
    "container ps": "container ls",
    "container remove": "container rm",
    "image list": "image ls",
    "image remove": "image rm",
    "network list": "network ls",
    "network remove": "network rm",
    "service list": "service ls",
    "volume list": "volume ls",
    "volume remove": "volume rm",
    "context list": "context ls",
}

_CONTAINER: dict[str, Row] = {
    "attach": ("attach", "COMMAND", "Connect this terminal to a running container"),
    "commit": ("commit", "COMMAND", "Make an image of a container's changes"),
    "cp": ("cp", "COMMAND", "Copy files between a container and this machine"),
    "create": ("create", "COMMAND", "Create a container without starting it"),
    "diff": ("diff", "COMMAND", "List the files that a container has changed"),
    "exec": ("exec", "COMMAND", "Run a command in a running container"),
    "export": ("export", "COMMAND", "Write a container's files as a tar archive"),
    "kill": ("kill", "COMMAND", "Send a signal to running containers"),
    "logs": ("logs", "COMMAND", "Show what a container has written"),
    "pause": ("pause", "COMMAND", "Freeze all processes of containers"),
    "port": ("port", "COMMAND", "List the published ports of a container"),
    "rename": ("rename", "COMMAND", "Give a container another name"),
    "restart": ("restart", "COMMAND", "Stop and start containers"),
    "rm": ("rm", "COMMAND", "Remove containers"),
    "run": ("run", "COMMAND", "Create and start a container from an image"),
    "start": ("start", "COMMAND", "Start stopped containers"),
    "stats": ("stats", "COMMAND", "Show what containers use, live"),
    "stop": ("stop", "COMMAND", "Stop running containers"),
    "top": ("top", "COMMAND", "List the processes of a container"),
    "unpause": ("unpause", "COMMAND", "Let paused containers go on"),
    "update": ("update", "COMMAND", "Change the limits of containers"),
    "wait": ("wait", "COMMAND", "Wait until containers stop and print their exit codes"),
}
_IMAGE: dict[str, Row] = {
    "build": ("build", "COMMAND", "Build an image from a Dockerfile"),
    "history": ("history", "COMMAND", "Show how an image was made"),
    "import": ("import_image", "COMMAND", "Make an image of a file system's tar archive"),
    "load": ("load", "COMMAND", "Load images from a tar archive or standard input"),
    "pull": ("pull", "COMMAND", "Download an image from a registry"),
    "push": ("push", "COMMAND", "Upload an image to a registry"),
    "save": ("save", "COMMAND", "Write images to a tar archive (standard output by default)"),
    "tag": ("tag", "COMMAND", "Give an image another name"),
}
COMMANDS: dict[str, Row] = {
    **_CONTAINER,
    **_IMAGE,
    "completion": ("completion", "COMMAND", "Print the completion script of a shell"),
    "events": ("events", "COMMAND", "Show what happens in the engine, live"),
    "images": ("images", "COMMAND", "List images"),
    "fsck": ("fsck", "COMMAND", "Check what the engine has stored, and repair it"),
    "info": ("info", "COMMAND", "Show the state and the abilities of the engine"),
    "inspect": ("inspect", "COMMAND", "Show all details of objects"),
    "login": ("login", "COMMAND", "Log in to a registry"),
    "logout": ("logout", "COMMAND", "Log out from a registry"),
    "ps": ("ps", "COMMAND", "List containers"),
    "rmi": ("rmi", "COMMAND", "Remove images"),
    "search": ("search", "COMMAND", "Search a registry for images"),
    "version": ("version", "COMMAND", "Show the versions of client and engine"),
    **{f"container {name}": row for name, row in _CONTAINER.items()},
    "container inspect": ("inspect", "CONTAINER", "Show all details of containers"),
    "container ls": ("ps", "COMMAND", "List containers"),
    "container prune": ("prune", "CONTAINERS", "Remove all stopped containers"),
    **{f"image {name}": row for name, row in _IMAGE.items()},
    "image diff": ("image_diff", "COMMAND", "Show what two images differ in"),
    "image inspect": ("inspect", "IMAGE", "Show all details of images"),
    "image ls": ("images", "COMMAND", "List images"),
    "image mount": ("image_mount", "COMMAND", "Show an image's files in a directory of this machine, read-only"),
    "image prune": ("prune", "IMAGES", "Remove unused images"),
    "image rm": ("rmi", "COMMAND", "Remove images"),
    "image tree": ("image_tree", "COMMAND", "Show the platforms, layers and attestations of an image"),
    "image unmount": ("image_mount", "UNMOUNT", "Take away what image mount has mounted"),
    "volume create": ("volume_create", "COMMAND", "Create a volume"),
    "volume inspect": ("inspect", "VOLUME", "Show all details of volumes"),
    "volume ls": ("volume_ls", "COMMAND", "List volumes"),
    "volume prune": ("prune", "VOLUMES", "Remove unused volumes"),
    "volume rm": ("volume_rm", "COMMAND", "Remove volumes"),
    "network connect": ("network_connect", "COMMAND", "Connect a container to a network"),
    "network create": ("network_create", "COMMAND", "Create a network"),
    "network disconnect": ("network_disconnect", "COMMAND", "Disconnect a container from a network"),
    "network graph": ("network_graph", "COMMAND", "Draw networks and containers: who talks to whom"),
    "network inspect": ("inspect", "NETWORK", "Show all details of networks"),
    "network ls": ("network_ls", "COMMAND", "List networks"),
    "network prune": ("prune", "NETWORKS", "Remove unused networks"),
    "network rm": ("network_rm", "COMMAND", "Remove networks"),
    "network update": ("network_update", "COMMAND", "Change the peers of a vxlan network"),
    "service inspect": ("inspect", "SERVICE", "Show all details of services: members, health, connections"),
    "service ls": ("service_ls", "COMMAND", "List services"),
    "system df": ("system_df", "COMMAND", "Show how much disk space is used"),
    "system dial-stdio": ("dial_stdio", "COMMAND", "Connect standard input and output to the engine's socket"),
    "system events": ("events", "COMMAND", "Show what happens in the engine, live"),
    "system fsck": ("fsck", "COMMAND", "Check what the engine has stored, and repair it"),
    "system info": ("info", "COMMAND", "Show the state and the abilities of the engine"),
    "system prune": ("prune", "SYSTEM", "Remove everything that is unused"),
    "builder build": ("build", "COMMAND", "Build an image from a Dockerfile"),
    "builder du": ("builder_du", "COMMAND", "Show what the build cache holds"),
    "builder prune": ("prune", "BUILDER", "Remove the build cache"),
    "buildx build": ("build", "COMMAND", "Build an image from a Dockerfile"),
    "buildx du": ("builder_du", "COMMAND", "Show what the build cache holds"),
    "buildx inspect": ("builder_ls", "INSPECT", "Show the builder, and the platforms that run there"),
    "buildx ls": ("builder_ls", "LIST", "List the builders: there is one"),
    "buildx prune": ("prune", "BUILDER", "Remove the build cache"),
    "context ls": ("context", "LIST", "List the contexts: there is one"),
    "context show": ("context", "SHOW", "Print the name of the context"),
}
HIDDEN = frozenset(("system dial-stdio",))


def resolve(words: str) -> Row | None:
    """The row of `container list` and the like, None when there is none."""
    return COMMANDS.get(words) or COMMANDS.get(ALIASES.get(words, ""))


def children(group: str) -> dict[str, str]:
    """The commands of a group ("" for the top level) with their summaries, in alphabetical order."""
    if not group:
        return {name: row[2] for name, row in sorted(COMMANDS.items()) if " " not in name}
    prefix = f"{group} "
    return {
        name.removeprefix(prefix): row[2]
        for name, row in sorted(COMMANDS.items())
        if name.startswith(prefix) and name not in HIDDEN
    }


def same_command(words: str) -> list[str]:
    """All words for the command that `words` names, when there are several."""
    row = resolve(words)
    if row is None:
        return []
    names = [name for name, other in COMMANDS.items() if other[:2] == row[:2]]
    names += [alias for alias, name in ALIASES.items() if name in names]
    return sorted(names, key=lambda name: (" " not in name, name)) if len(names) > 1 else []
