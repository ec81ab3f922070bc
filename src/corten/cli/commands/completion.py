"""`corten completion bash|zsh|fish`: a script that asks `corten completion words` for what may come next."""

from __future__ import annotations

import sys

from corten.cli import table
from corten.cli.command import Call, Command
from corten.cli.errors import CliError
from corten.client.errors import ApiError, EngineUnreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_BASH = """\
_corten() {
    local words
    mapfile -t words < <(corten completion words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    if [ "${#words[@]}" -eq 0 ]; then
        compopt -o default
        COMPREPLY=()
    else
        mapfile -t COMPREPLY < <(compgen -W "${words[*]}" -- "${COMP_WORDS[COMP_CWORD]}")
    fi
}
complete -F _corten corten
"""
_ZSH = """\
#compdef corten
_corten() {
    local -a found
    found=("${(@f)$(corten completion words -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "${found[1]}" ]]; then
        compadd -- "${found[@]}"
    else
        _files
    fi
}
compdef _corten corten
"""
_FISH = """\
function __corten_words
    set -l tokens (commandline -opc) (commandline -ct)
    corten completion words -- $tokens[2..-1] 2>/dev/null
end
complete -c corten -f -a '(__corten_words)'
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}

_RUNNING = frozenset(("attach", "exec", "kill", "pause", "port", "stats", "stop", "top", "unpause"))
_ANY = frozenset(
    ("commit", "cp", "diff", "export", "inspect", "logs", "rename", "restart", "rm", "start", "update", "wait")
)
_IMAGES = frozenset(
    ("create", "history", "image_diff", "image_mount", "image_tree", "push", "rmi", "run", "save", "tag")
)


def completion(call: Call) -> None:
    """Print a script, or the words that may come next."""
    shell, *words = call.arguments
    if shell in _SCRIPTS:
        sys.stdout.write(_SCRIPTS[shell])
        return
    if shell != "words":
        raise CliError(f"no completion for {shell}: one of bash, zsh, fish is wanted")
    try:
        found = candidates(words or [""], lambda path: call.client.call("GET", path))
    except (ApiError, EngineUnreachable):
        found = []
    last = words[-1] if words else ""
    sys.stdout.write("".join(f"{word}\n" for word in found if word.startswith(last)))


def candidates(words: list[str], ask: Callable[[str], object]) -> list[str]:
    """What may stand in the place of the last word; `ask` fetches a list of the API."""
    *before, last = words
    names = [word for word in before if not word.startswith("-")]
    if not names:
        return [*table.children(""), *table.GROUPS, *table.OTHER]
    group = names[0] if names[0] in table.GROUPS else ""
    if group and len(names) == 1:
        return list(table.children(group))
    command = " ".join(names[:2]) if group else names[0]
    row = table.resolve(command)
    if row is None:
        return []
    if last.startswith("-"):
        module = __import__(f"corten.cli.commands.{row[0]}", fromlist=("x",))
        return [f"--{option.long}" for option in getattr(module, row[1]).options if not option.hidden]
    return _objects(group, row[0], ask)


def _objects(group: str, module: str, ask: Callable[[str], object]) -> list[str]:
    if group in ("volume", "network") and module not in (f"{group}_create", f"{group}_ls"):
        found = ask("/volumes" if group == "volume" else "/networks")
        items = (found or {}).get("Volumes") if isinstance(found, dict) else found
        return [item["Name"] for item in _list(items)]
    if (group == "image" and module == "inspect") or module in _IMAGES:
        tags = [tag for item in _list(ask("/images/json")) for tag in item.get("RepoTags") or []]
        return tags + [tag.removesuffix(":latest") for tag in tags if tag.endswith(":latest")]
    if module in _RUNNING or module in _ANY:
        items = ask(f"/containers/json?all={int(module in _ANY)}")
        return [name.removeprefix("/") for item in _list(items) for name in item.get("Names") or []]
    return []


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


COMMAND = Command(
    "bash|zsh|fish",
    completion,
    least=1,
    most=None,
    text="Print the completion script of a shell\n\n"
    "  bash:  source <(corten completion bash)\n"
    '  zsh:   corten completion zsh > "${fpath[1]}/_corten"\n'
    "  fish:  corten completion fish > ~/.config/fish/completions/corten.fish",
)
