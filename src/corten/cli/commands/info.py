"""`corten info`."""

from __future__ import annotations

import sys

from corten import __version__
from corten.cli.command import Call, Command
from corten.cli.errors import CliError, ExitStatus
from corten.cli.human_size import binary_size
from corten.cli.option import Option
from corten.client.errors import ApiError, EngineUnreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def info(call: Call) -> None:
    """Print what the engine says about itself."""
    found: dict[str, Any] = {}
    failures: list[str] = []
    try:
        found = call.client.call("GET", "/info")
    except (ApiError, EngineUnreachable) as error:
        failures.append(error.message)
    client = {"Debug": False, "Context": "default", "Version": __version__, "Warnings": None}
    form = call.values["format"]
    if form:
        from corten.cli.template.evaluate import render
        from corten.cli.template.lexer import TemplateError

        data = {**found, **({"ServerErrors": failures} if failures else {}), "ClientInfo": client}
        try:
            sys.stdout.write(render("{{json .}}" if form == "json" else form, data) + "\n")
        except TemplateError as error:
            raise CliError(f"template parsing error: {error.message}", status=64) from None
    else:
        lines = ["Client:", f" Version:    {__version__}", " Context:    default", " Debug Mode: false", "", "Server:"]
        sys.stdout.write("\n".join(lines + (_server(found) if found else [])) + "\n")
        sys.stdout.flush()
        for warning in found.get("Warnings") or []:
            sys.stderr.write(f"{warning}\n")
    if failures:
        sys.stderr.write("\n".join(failures) + "\n")
        raise ExitStatus(1)


def _server(found: dict[str, Any]) -> list[str]:
    lines = [
        f" Containers: {found.get('Containers', 0)}",
        f"  Running: {found.get('ContainersRunning', 0)}",
        f"  Paused: {found.get('ContainersPaused', 0)}",
        f"  Stopped: {found.get('ContainersStopped', 0)}",
        f" Images: {found.get('Images', 0)}",
    ]
    lines += _if(found, "Server Version", "ServerVersion") + _if(found, "Storage Driver", "Driver")
    lines += [f"  {name}: {value}" for name, value in found.get("DriverStatus") or []]
    lines += _if(found, "Logging Driver", "LoggingDriver") + _if(found, "Cgroup Driver", "CgroupDriver")
    lines += _if(found, "Cgroup Version", "CgroupVersion")
    plugins = found.get("Plugins") or {}
    lines += [" Plugins:"]
    for name in ("Volume", "Network", "Authorization", "Log"):
        if plugins.get(name) or name in ("Volume", "Network"):
            lines.append(f"  {name}: {' '.join(plugins.get(name) or [])}")
    lines.append(f" Swarm: {(found.get('Swarm') or {}).get('LocalNodeState', 'inactive')}")
    lines.append(f" Runtimes: {' '.join(sorted(found.get('Runtimes') or {}))}")
    lines += _if(found, "Default Runtime", "DefaultRuntime") + _if(found, "Init Binary", "InitBinary")
    lines += _security(found.get("SecurityOptions") or [])
    lines += _machine(found) + _registries(found)
    return lines


def _if(found: dict[str, Any], label: str, field: str) -> list[str]:
    return [f" {label}: {found[field]}"] if found.get(field) else []


def _security(options: list[str]) -> list[str]:
    if not options:
        return []
    lines = [" Security Options:"]
    for option in options:
        fields = [part.partition("=")[::2] for part in option.split(",")]
        name = next((value for key, value in fields if key == "name"), option)
        lines.append(f"  {name}")
        lines += [f"   {key.capitalize()}: {value}" for key, value in fields if key != "name"]
    return lines


def _machine(found: dict[str, Any]) -> list[str]:
    lines = _if(found, "Kernel Version", "KernelVersion") + _if(found, "Operating System", "OperatingSystem")
    lines += _if(found, "OSType", "OSType") + _if(found, "Architecture", "Architecture")
    lines.append(f" CPUs: {found.get('NCPU', 0)}")
    lines.append(f" Total Memory: {binary_size(found.get('MemTotal', 0))}")
    lines += _if(found, "Name", "Name") + _if(found, "ID", "ID") + _if(found, "Docker Root Dir", "DockerRootDir")
    lines.append(f" Debug Mode: {str(bool(found.get('Debug'))).lower()}")
    if found.get("Debug"):
        for label, field in (("File Descriptors", "NFd"), ("Goroutines", "NGoroutines"), ("System Time", "SystemTime")):
            lines.append(f"  {label}: {found.get(field)}")
    for label, field in (("HTTP Proxy", "HttpProxy"), ("HTTPS Proxy", "HttpsProxy"), ("No Proxy", "NoProxy")):
        lines += _if(found, label, field)
    if found.get("Labels"):
        lines += [" Labels:", *(f"  {label}" for label in found["Labels"])]
    lines.append(f" Experimental: {str(bool(found.get('ExperimentalBuild'))).lower()}")
    return lines


def _registries(found: dict[str, Any]) -> list[str]:
    config = found.get("RegistryConfig") or {}
    lines = []
    insecure = [
        name for name, index in (config.get("IndexConfigs") or {}).items() if not index.get("Secure", True)
    ] + list(config.get("InsecureRegistryCIDRs") or [])
    if insecure:
        lines += [" Insecure Registries:", *(f"  {name}" for name in insecure)]
    if config.get("Mirrors"):
        lines += [" Registry Mirrors:", *(f"  {mirror}" for mirror in config["Mirrors"])]
    lines.append(f" Live Restore Enabled: {str(bool(found.get('LiveRestoreEnabled'))).lower()}")
    lines += _if(found, "Product License", "ProductLicense")
    return lines


COMMAND = Command(
    "[OPTIONS]",
    info,
    (Option("-f, --format", "string", "Format the output: 'json', or a Go template"),),
)
