"""``docker-compose.yml`` and what belongs to it, as far as they can be checked without Docker."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml", reason="the package pyyaml (extra 'test') is not installed")

ROOT = Path(__file__).resolve().parents[1]
DOCKER = ROOT / "docker"
FILES = ["docker-compose.yml", "docker-compose.cpu.yml"]
DOCKERFILES = sorted(path.name for path in DOCKER.glob("*Dockerfile"))
PASSWORDS = {"CARDIOSCAN_GATEWAY_TOKEN": "for-the-test", "CARDIOSCAN_GRAFANA_PASSWORD": "for-the-test"}
SERVICES = {"triton", "gateway", "prometheus", "grafana"}
# Triton's metrics as its documentation lists them; those of GPUs exist on a GPU only.
TRITON_METRICS = {
    "nv_inference_request_success",
    "nv_inference_request_failure",
    "nv_inference_count",
    "nv_inference_exec_count",
    "nv_inference_pending_request_count",
    "nv_inference_queue_duration_us",
    "nv_inference_compute_infer_duration_us",
    "nv_gpu_utilization",
    "nv_gpu_memory_used_bytes",
    "nv_gpu_memory_total_bytes",
}


def load(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / name).read_text("utf-8")))


def services(name: str) -> dict[str, dict[str, Any]]:
    """The services of a file, with what they extend put in."""
    found = {}
    for service, given in load(name)["services"].items():
        base = services(given["extends"]["file"])[given["extends"]["service"]] if "extends" in given else {}
        found[service] = {**base, **given}
    return found


ALL = [pytest.param(service, id=f"{name}-{key}") for name in FILES for key, service in services(name).items()]


@pytest.mark.parametrize("name", FILES)
def test_every_service_is_there(name: str) -> None:
    assert services(name).keys() == SERVICES


@pytest.mark.parametrize("service", ALL)
def test_a_service_is_pinned_watched_and_bounded(service: dict[str, Any]) -> None:
    assert re.fullmatch(r"[\w./-]+:v?\d[\w.-]*", service["image"]), "an image has a tag with a version"
    assert service["healthcheck"]["test"][0] == "CMD" and service["healthcheck"]["retries"]
    assert {"mem_limit", "cpus", "pids_limit"} <= service.keys()
    assert service["restart"] == "unless-stopped" and service["init"] is True


@pytest.mark.parametrize("service", ALL)
def test_a_service_may_do_little(service: dict[str, Any]) -> None:
    user = str(service["user"]).split(":")[0]
    assert user.isdecimal() and int(user) > 0, "a number, so that it is plainly not root"
    assert service["cap_drop"] == ["ALL"] and "no-new-privileges:true" in service["security_opt"]
    assert "privileged" not in service and service.get("network_mode") is None
    for mount in service.get("volumes", ()):
        source, _, rest = mount.partition(":")
        assert not source.startswith((".", "/")) or rest.endswith(":ro"), (
            f"{mount}: files of the checkout are read-only"
        )
    for port in service.get("ports", ()):
        assert port.startswith(("127.0.0.1:", "${CARDIOSCAN_BIND:-127.0.0.1}:")), f"{port}: open to other machines"


@pytest.mark.parametrize("name", FILES)
def test_triton_is_hidden_and_reads_the_models_only(name: str) -> None:
    triton = services(name)["triton"]
    assert "./model_repository:/models:ro" in triton["volumes"]
    assert "ports" not in triton and triton["networks"] == ["inside"]
    assert load(name)["networks"]["inside"]["internal"] is True
    declared = load(name).get("volumes", {})
    for service in services(name).values():
        named = {mount.split(":")[0] for mount in service.get("volumes", ()) if not mount.startswith((".", "/"))}
        assert named <= declared.keys()


def test_the_gpu_is_asked_for_where_there_is_one() -> None:
    (device,) = services(FILES[0])["triton"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia" and "gpu" in device["capabilities"]
    assert "deploy" not in services(FILES[1])["triton"]


def test_no_password_has_a_default() -> None:
    text = (ROOT / FILES[0]).read_text("utf-8")
    for name in PASSWORDS:
        assert re.search(rf"\$\{{{name}:\?", text), f"{name} must be set by the operator"
    assert not re.search(r"(PASSWORD|TOKEN)\w*: *\"?(?!\$\{)\w", text)


def test_a_page_is_finished_before_its_container_goes() -> None:
    gateway = services(FILES[0])["gateway"]
    grace = next(int(word.removeprefix("--grace=")) for word in gateway["command"] if word.startswith("--grace="))
    assert int(gateway["stop_grace_period"].removesuffix("s")) > grace


def test_the_gateways_command_is_one_that_it_has() -> None:
    from cardioscan_client.commands.gateway import gateway

    known = {option for parameter in gateway.params for option in parameter.opts}
    name, *arguments = services(FILES[0])["gateway"]["command"]
    assert name == gateway.name
    assert {argument.split("=")[0] for argument in arguments} <= known


@pytest.mark.parametrize("name", FILES)
def test_docker_compose_accepts_it(name: str, tmp_path: Path) -> None:
    program = shutil.which("docker-compose")
    if program is None:
        pytest.skip("the program docker-compose is not installed")
    done = subprocess.run(
        [program, "-f", name, "config", "--quiet"],
        cwd=ROOT,
        env={**os.environ, **PASSWORDS},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    nothing = tmp_path / "none.env"
    nothing.touch()
    empty = {key: value for key, value in os.environ.items() if key not in PASSWORDS}
    done = subprocess.run(
        [program, "--env-file", str(nothing), "-f", name, "config", "--quiet"],
        cwd=ROOT,
        env=empty,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0 and "docs/docker.md" in done.stderr


# Images


@pytest.mark.parametrize("name", DOCKERFILES)
def test_images_are_pinned_and_not_root(name: str) -> None:
    text = (DOCKER / name).read_text("utf-8")
    stages: set[str] = set()
    for base, stage in re.findall(r"^FROM (\S+)(?: AS (\S+))?", text, re.MULTILINE):
        assert base in stages or re.fullmatch(r"[\w./-]+:\d+\.\d+[\w.-]*", base), f"{base} is not pinned"
        stages.add(stage)
    users = re.findall(r"^USER (\d+):(\d+)$", text, re.MULTILINE)
    assert users and all(int(user) > 0 for user, _ in users)
    assert "HEALTHCHECK" in text and "ADD " not in text


def test_the_build_context_is_what_the_package_needs() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    kept = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert "*" in lines and all((ROOT / path).exists() for path in kept)
    assert {"pyproject.toml", "README.md", "LICENSE", "NOTICE", "cardioscan", "client", "export"} <= kept


# Prometheus and Grafana


def dashboard() -> dict[str, Any]:
    return dict(json.loads((DOCKER / "grafana" / "dashboards" / "cardioscan.json").read_text("utf-8")))


def expressions() -> list[str]:
    rules = yaml.safe_load((DOCKER / "prometheus" / "alerts.yml").read_text("utf-8"))
    alerts = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    return alerts + [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ())]


def gateway_metrics() -> set[str]:
    """Names of all samples that a gateway can offer."""
    from prometheus_client import generate_latest

    from cardioscan_client.gateway.metrics import Metrics

    metrics = Metrics()
    metrics.watch(lambda: 0, lambda: 0)
    metrics.count("digitized", "", 1.0)
    metrics.rejected.labels("queue_full").inc()
    metrics.stage_seconds.labels("read").observe(1)
    metrics.page_bytes.observe(1)
    metrics.upstream(True)
    return set(re.findall(r"^(\w+)", generate_latest(metrics.registry).decode(), re.MULTILINE))


@pytest.mark.skipif(
    find_spec("prometheus_client") is None, reason="prometheus-client (extra 'gateway') is not installed"
)
def test_every_query_is_over_a_metric_that_exists() -> None:
    known = gateway_metrics() | TRITON_METRICS
    queries = expressions()
    assert len(queries) > 20
    for query in queries:
        bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^]]*\]', "", query)
        names = set(re.findall(r"\b(?:cardioscan|nv|process)_\w+", bare))
        assert names <= known, query
        assert names or "up" in bare, query


def test_prometheus_asks_the_ports_that_are_served() -> None:
    jobs = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    targets = {job["job_name"]: job["static_configs"][0]["targets"][0] for job in jobs}
    assert targets["gateway"] == "gateway:8091" and targets["triton"] == "triton:8002"
    assert targets.keys() - {"prometheus"} <= SERVICES


def test_the_dashboard_reads_the_provisioned_source() -> None:
    provisioning = DOCKER / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text("utf-8"))["datasources"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "cardioscan.yml").read_text("utf-8"))["providers"]
    assert source["url"] == "http://prometheus:9090"
    panels = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]
    for panel in panels:
        assert panel["datasource"]["uid"] == source["uid"] and panel["title"]
        assert all(target["datasource"]["uid"] == source["uid"] for target in panel["targets"])
    mounts = services(FILES[0])["grafana"]["volumes"]
    assert any(mount.split(":")[1] == provider["options"]["path"] for mount in mounts)


def test_prometheus_accepts_its_files() -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("the program promtool (of Prometheus) is not installed")
    done = subprocess.run(
        [program, "check", "config", str(DOCKER / "prometheus" / "prometheus.yml")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
