"""``TritonServer``: a real Triton Inference Server as a child process, without a container.

The server and its Python backend come from the package nvidia-pytriton, of which nothing is imported: only its
programs are run, in a folder where they find each other.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from cardioscan.errors import MissingDependencyError, ServerStartError
from cardioscan_client.ports import port_message

LOG_LINES: Final = 15
"""How many lines of the server's log an error shows."""
INSTALL: Final = "pip install --no-deps 'nvidia-pytriton>=0.5'"
"""What installs the server. Its metadata asks for NumPy 1, which only its own Python interface needs."""

_SHARED_MEMORY: Final = Path("/dev/shm")
"""Where Linux keeps the memory through which the server and the processes of its networks exchange tensors."""
_NOTICE: Final = re.compile(r"[+|]|I\d{4} ")
"""Begins what says nothing about a failure in Triton's log: tables, and lines of the level INFO."""
_POLL_S: Final = 0.2
_WATCH_S: Final = 1.0
_KILL_AFTER_S: Final = 10.0


@dataclass(frozen=True)
class ServerOptions:
    """How the server is started.

    Attributes:
        host: address to listen on; ``0.0.0.0`` is reachable from other machines, and has no password.
        grpc_port, http_port, metrics_port: 0 takes any free one.
        start_timeout_s: how long the networks may take to load and warm up.
        exit_timeout_s: how long requests under way may take when the server is stopped.
        arguments: further options of ``tritonserver``, such as ``--grpc-use-ssl=true``.
    """

    host: str = "127.0.0.1"
    grpc_port: int = 8001
    http_port: int = 8000
    metrics_port: int = 8002
    start_timeout_s: float = 600.0
    exit_timeout_s: int = 30
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class TritonInstallation:
    """The parts of the package nvidia-pytriton: the server, its backends, its libraries, the running Python's stub."""

    server: Path
    backends: Path
    libraries: Path
    stub: Path


def find_triton() -> TritonInstallation:
    """The installed server.

    Raises:
        MissingDependencyError: nvidia-pytriton is not installed.
        ServerStartError: it is, but not for this machine or this Python.
    """
    package = find_spec("pytriton")
    if package is None or package.origin is None:
        raise MissingDependencyError("nvidia-pytriton", "serve", "Starting a server", INSTALL)
    root = Path(package.origin).parent / "tritonserver"
    stubs = root / "python_backend_stubs"
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = TritonInstallation(
        server=root / "bin" / "tritonserver",
        backends=root / "backends",
        libraries=root.parent.parent / "nvidia_pytriton.libs",
        stub=stubs / python / "triton_python_backend_stub",
    )
    if not found.server.is_file():
        raise ServerStartError(f"there is no server in {root}: nvidia-pytriton has one for Linux on x86-64 only")
    if not found.stub.is_file():
        known = ", ".join(sorted((path.name for path in stubs.iterdir()), key=lambda name: int(name.split(".")[1])))
        raise ServerStartError(f"the installed nvidia-pytriton serves Python {known}, not {python}: use one of them")
    return found


class TritonServer:
    """A server that runs while the ``with`` block does.

    Entering starts the process and waits until every model of the repository is ready; leaving stops it cleanly:
    requests under way are answered, for at most ``exit_timeout_s``.

    Args:
        repository: model repository of the flavour ``cpu``.
        options: see ``ServerOptions``.
        log: file for the server's log, appended to; None keeps it until the server is stopped.

    Raises:
        MissingDependencyError: nvidia-pytriton is not installed.
        ServerStartError: a port is taken, the server died, or its models were not ready in time; the message ends
            with the last lines of its log.
    """

    def __init__(
        self, repository: str | Path, options: ServerOptions = ServerOptions(), log: str | Path | None = None
    ) -> None:
        self.repository, self.options = Path(repository), options
        self._log = None if log is None else Path(log)
        self._workspace: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._networks: set[int] = set()
        self._shared_memory = f"cardioscan_{uuid.uuid4().hex[:12]}_"

    @property
    def grpc_address(self) -> str:
        """``host:port`` for gRPC clients on this machine."""
        return f"{self._local_host}:{self.options.grpc_port}"

    @property
    def http_address(self) -> str:
        """URL of the HTTP interface."""
        return f"http://{self._local_host}:{self.options.http_port}"

    @property
    def metrics_address(self) -> str:
        """URL of the metrics, in the text format of Prometheus."""
        return f"http://{self._local_host}:{self.options.metrics_port}/metrics"

    @property
    def pid(self) -> int | None:
        """Process id of the server while it runs."""
        return None if self._process is None or self._process.poll() is not None else self._process.pid

    @property
    def _local_host(self) -> str:
        return "127.0.0.1" if self.options.host in ("0.0.0.0", "") else self.options.host

    def __enter__(self) -> TritonServer:
        self.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and wait until it is ready; whatever goes wrong meanwhile, no process is left behind."""
        if self.pid is not None:
            raise ServerStartError(f"this server runs already (process {self.pid})")
        triton = find_triton()
        self.options = _choose_ports(self.options)
        self._workspace = tempfile.TemporaryDirectory(prefix="cardioscan-serve-")
        try:
            folder = Path(self._workspace.name)
            backends = _link_backends(triton, folder / "backends")
            if self._log is None:
                self._log = folder / "triton.log"
            with self._log.open("ab") as log:
                # In a session of its own: Ctrl-C in a terminal reaches this process only, which then stops the server.
                self._process = subprocess.Popen(
                    [str(triton.server), *self._arguments(backends)],
                    env=_environment(triton, os.environ),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self._wait_until_ready()
            self._networks = _children(self._process.pid)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server, let it finish what it is doing, and remove its temporary files. Does nothing twice."""
        process, self._process = self._process, None
        self._networks = set()
        try:
            if process is not None:
                _stop_process(process, self.options.exit_timeout_s + _KILL_AFTER_S)
        finally:
            for region in _SHARED_MEMORY.glob(self._shared_memory + "*"):
                region.unlink(missing_ok=True)  # a server that was killed could not do it
            workspace, self._workspace = self._workspace, None
            if workspace is not None:
                if self._log is not None and self._log.parent == Path(workspace.name):
                    self._log = None
                workspace.cleanup()

    def check(self) -> None:
        """Do nothing while the server and its networks run.

        Raises:
            ServerStartError: the server has died, or the process of one of its networks, which Triton does not start
                again; the message ends with the end of its log.
        """
        code = None if self._process is None else self._process.poll()
        if self._process is None or code is not None:
            how = "is not running" if code is None else f"ended with status {code}"
            raise ServerStartError(f"the server {how}. {self.last_lines()}")
        if not self._networks <= _children(self._process.pid):
            raise ServerStartError(
                "the process of a network has died, perhaps for want of memory: start the server again. "
                f"{self.last_lines()}"
            )

    def last_lines(self, n: int = LOG_LINES) -> str:
        """The end of the server's log, without tables and notices, after a line that says so; empty without a log."""
        if self._log is None or not self._log.is_file():
            return ""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        telling = [line for line in lines if line and not _NOTICE.match(line)] or lines
        return "\n  ".join(["The last lines of its log:", *telling[-n:]]) if lines else "Its log is empty."

    def _arguments(self, backends: Path) -> list[str]:
        options = self.options
        return [
            f"--model-repository={self.repository}",
            f"--backend-directory={backends}",
            f"--grpc-address={options.host}",
            f"--http-address={options.host}",
            f"--grpc-port={options.grpc_port}",
            f"--http-port={options.http_port}",
            f"--metrics-port={options.metrics_port}",
            f"--exit-timeout-secs={options.exit_timeout_s}",
            "--disable-auto-complete-config",  # what the configuration lacks is an error
            "--allow-gpu-metrics=false",
            "--pinned-memory-pool-byte-size=0",
            "--grpc-infer-response-compression-level=low",  # for clients that accept it: those on other machines
            f"--backend-config=python,shm-region-prefix-name={self._shared_memory}",
            *_shared_memory_options(options),
            *options.arguments,
        ]

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + self.options.start_timeout_s
        while not self._is_ready():
            self.check()
            if time.monotonic() > end:
                seconds = f"{self.options.start_timeout_s:g} s"
                raise ServerStartError(f"the models were not ready within {seconds}. {self.last_lines()}")
            time.sleep(_POLL_S)

    def _is_ready(self) -> bool:
        # Not urllib: a proxy of the environment has nothing to do with this machine's own server.
        connection = http.client.HTTPConnection(self._local_host, self.options.http_port, timeout=5)
        try:
            connection.request("GET", "/v2/health/ready")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def run_server(server: TritonServer, echo: Callable[[str], object]) -> None:
    """Run a server until SIGINT or SIGTERM, then stop it cleanly; tells its addresses and what happens.

    Must be called in the main thread.

    Raises:
        MissingDependencyError: nvidia-pytriton is not installed.
        ServerStartError: the server did not start, or died later.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        echo("starting the server: loading the networks and warming them up ...")
        with server:
            echo(f"gRPC     {server.grpc_address}")
            echo(f"HTTP     {server.http_address}")
            echo(f"metrics  {server.metrics_address}")
            echo("ready; stop with Ctrl-C")
            while True:
                time.sleep(_WATCH_S)
                server.check()
    except KeyboardInterrupt:
        echo("stopped")
    finally:
        signal.signal(signal.SIGTERM, before)


def _choose_ports(options: ServerOptions) -> ServerOptions:
    """The options with free ports in place of zeros; raises ``ServerStartError`` for a port that is taken."""
    chosen: dict[str, int] = {}
    sockets: list[socket.socket] = []
    try:
        for name in ("grpc_port", "http_port", "metrics_port"):
            port: int = getattr(options, name)
            option = "--" + name.replace("_", "-")
            listener = socket.socket(socket.AF_INET6 if ":" in options.host else socket.AF_INET)
            sockets.append(listener)  # held until all are chosen, so that no two get the same
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((options.host, port))
                listener.listen()
            except OSError as error:
                raise ServerStartError(port_message(error, options.host, port, option)) from error
            chosen[name] = listener.getsockname()[1]
    finally:
        for listener in sockets:
            listener.close()
    return replace(options, **chosen)  # type: ignore[arg-type]


def _link_backends(triton: TritonInstallation, folder: Path) -> Path:
    """A backend folder in which the Python backend finds the stub of the running Python beside it."""
    python = folder / "python"
    python.mkdir(parents=True)
    for file in [*(triton.backends / "python").iterdir(), triton.stub]:
        if file.is_file():
            (python / file.name).symlink_to(file)
    return folder


def _shared_memory_options(options: ServerOptions) -> list[str]:
    """Keep other machines from the shared memory of this one: a client that may register some can read all of it."""
    local = options.host in ("localhost", "::1") or options.host.startswith("127.")
    if local or any("shared-memory" in argument for argument in options.arguments):
        return []
    rule = f"shared-memory:nobody={secrets.token_hex(16)}"
    return [f"--grpc-restricted-protocol={rule}", f"--http-restricted-api={rule}"]


def _environment(triton: TritonInstallation, base: Mapping[str, str]) -> dict[str, str]:
    """The environment in which the backend's Python is the running one, with its packages and this CardioScan."""
    environment = {key: value for key, value in base.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    if folders := _own_folders():
        environment["PYTHONPATH"] = os.pathsep.join(folders)
    # The threads of NumPy's linear algebra would fight with the networks for the cores.
    environment.setdefault("OPENBLAS_NUM_THREADS", "1")
    libraries = [str(triton.libraries), sysconfig.get_config_var("LIBDIR"), base.get("LD_LIBRARY_PATH")]
    environment["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, libraries))
    environment["PATH"] = os.pathsep.join(filter(None, [str(Path(sys.executable).parent), base.get("PATH")]))
    return environment


def _own_folders() -> list[str]:
    """Folders of the packages that ``ecg_digitizer`` needs, where they are used from a checkout; none if installed."""
    installed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    origins = [spec.origin for spec in map(find_spec, ("cardioscan", "cardioscan_export")) if spec and spec.origin]
    folders = [str(Path(origin).parent.parent) for origin in origins]
    return [folder for folder in dict.fromkeys(folders) if folder not in installed]


def _children(pid: int) -> set[int]:
    """Living child processes, by id; empty where the system does not tell."""
    found = set()
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            for child in map(int, listing.read_text().split()):
                # A process that has ended stays listed as a zombie until its parent asks for it.
                if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                    found.add(child)
        except OSError:
            continue  # the thread or the process ended meanwhile
    return found


def _stop_process(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    """Ask the process to stop; kill it and its children where it does not, or where the wait is interrupted."""
    try:
        with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(timeout_s)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the backend's own processes too, should any be left
        process.wait()
