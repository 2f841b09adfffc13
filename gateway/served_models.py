"""The models of a gateway: which releases are served, on what they run, and the runtime behind the use case's port."""

from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path

import msgspec

from gateway.assessment.compute import required_models
from gateway.assessment.ports import RunFailed, RunResult
from gateway.clock import Deadline
from gateway.config import Settings
from gateway.errors import ModelRefused
from gateway.features.derived import site_number
from gateway.features.manifest import ModelManifest, SiteSetting
from gateway.features.plan import features_of
from gateway.inference.remote import RemoteModel
from gateway.inference.result import EngineResult, InferenceFailed
from gateway.inference.runtime import Runtime, RuntimePlan
from gateway.registry import SHIPPED_KEYS, Release, admit_releases, load_code_sets
from gateway.results.answer import ReleaseIdentity, Rung
from gateway.telemetry import get_logger
from gateway.terminology import Terminology

SHIPPED_MODELS = Path(__file__).resolve().parent.parent / "models"

RUN_SHARE = 0.5  # of the time that is left: a fallback, other models, and the audit record still have to come

_log = get_logger("gateway.models")


class LoadedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A release as the use case sees it."""

    manifest: ModelManifest
    identity: ReleaseIdentity


class EngineRuntime:
    """The runtime behind the use case's port."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def run(
        self, model: str, tensors: Mapping[str, float], variant_index: int | None, deadline: Deadline
    ) -> RunResult | Awaitable[RunResult]:
        """Run one row; a failure of the runtime becomes the port's."""
        try:
            result = self._runtime.run(model, tensors, variant_index, RUN_SHARE * deadline.remaining_s())
        except InferenceFailed as failure:
            raise RunFailed(failure.reason) from failure
        return run_result(result) if isinstance(result, EngineResult) else _when_run(result)


async def _when_run(awaited: Awaitable[EngineResult]) -> RunResult:
    try:
        return run_result(await awaited)
    except InferenceFailed as failure:
        raise RunFailed(failure.reason) from failure
    except Exception as fault:  # a bug of ours must not turn "no number" into "no answer"
        raise RunFailed(f"the runtime failed ({type(fault).__name__})") from fault


def run_result(result: EngineResult) -> RunResult:
    """Return what an engine gave in the words of the use case."""
    return RunResult(
        values=result.values,
        applicable=result.applicable,
        rung=Rung(result.device.value),
        runtime=result.runtime,
        stepped_down=result.stepped_down,
    )


def runtime_plan(settings: Settings) -> RuntimePlan:
    """Return where and how graphs run."""
    models = settings.models
    return RuntimePlan(
        device=models.device,
        placement=models.placement,
        gpu_python=models.gpu_python,
        run_s_max=models.run_s_max,
        batch_rows_max=models.batch_rows_max,
        worker_memory_bytes_max=models.worker_memory_bytes_max,
        remote={
            name: RemoteModel(base_url=remote.base_url, model=remote.model or name, version=remote.version)
            for name, remote in models.remote.items()
        },
    )


class ServedModels(msgspec.Struct, frozen=True, kw_only=True):
    """Releases that passed their vectors, with the terminology they need and the runtime they are loaded into."""

    terminology: Terminology
    models: dict[str, LoadedModel]
    runtime: Runtime


def load_served(settings: Settings, workers: Path) -> ServedModels:
    """Load whatever the folder of releases holds now; the runtime is not started yet.

    Raises:
        gateway.errors.ModelRefused: see `load_models`.
    """
    runtime = Runtime(runtime_plan(settings), workers)
    try:
        terminology = load_code_sets(models_folder(settings), trusted_keys(settings))
        models = load_models(settings, terminology, runtime)
    except BaseException:
        runtime.close_loader()
        raise
    return ServedModels(terminology=terminology, models=models, runtime=runtime)


def load_models(settings: Settings, terminology: Terminology, runtime: Runtime) -> dict[str, LoadedModel]:
    """Load, check and warm every release; return the enabled ones and those they read.

    Raises:
        gateway.errors.ModelRefused: a release is not what it says it is, one of its vectors fails, or an enabled one is not there.
    """
    keys = trusted_keys(settings)
    releases = {release.manifest.name: release for release in admit_releases(models_folder(settings), runtime, terminology, keys)}
    manifests = {name: release.manifest for name, release in releases.items()}
    unknown = set(settings.models.enabled) - manifests.keys()
    if unknown:
        raise ModelRefused("models.enabled", f"no such release: {', '.join(sorted(unknown))}; there are: {', '.join(manifests)}")
    names = required_models(manifests, settings.models.enabled or manifests)
    require_known_site(settings, [manifests[name] for name in names])
    _log.info("releases-loaded", models=",".join(names))
    return {name: LoadedModel(manifest=manifests[name], identity=identity_of(releases[name])) for name in names}


def require_known_site(settings: Settings, manifests: Sequence[ModelManifest]) -> None:
    """Refuse a site setting that a served model asks for by words and that is none of them: a misspelt region must not go unseen.

    Raises:
        gateway.errors.ModelRefused: names the setting and the words.
    """
    for manifest in manifests:
        for feature in features_of(manifest):
            stated = settings.site.get(feature.setting) if isinstance(feature, SiteSetting) else None
            if isinstance(feature, SiteSetting) and stated is not None and site_number(feature, stated) is None:
                words = " or ".join(feature.encoding) or "a number"
                raise ModelRefused(f"site.{feature.setting}", f"{manifest.name} wants {words}")


def identity_of(release: Release) -> ReleaseIdentity:
    """Return the release's identity in the words of an answer."""
    identity = release.identity
    return ReleaseIdentity(
        name=identity.name, version=identity.version, graph_sha256=identity.graph_sha256, manifest_sha256=identity.manifest_sha256
    )


def models_folder(settings: Settings) -> Path:
    """Return the folder with the releases."""
    return Path(settings.models.folder) if settings.models.folder else SHIPPED_MODELS


def trusted_keys(settings: Settings) -> frozenset[str]:
    """Return the public keys that may vouch for a release."""
    return SHIPPED_KEYS | frozenset(settings.models.trusted_keys)
