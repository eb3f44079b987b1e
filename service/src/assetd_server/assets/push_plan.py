"""What a push means to create, and the refusals of what does not fit it. Pure, no I/O."""

import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from assetd_server.assets.orders import Bump, PushHeader, PushMode
from assetd_server.assets.surveys import Survey
from assetd_server.errors import (
    AssetExistsError,
    AssetNotFoundError,
    InvalidVersionError,
    PushInProgressError,
    PushMismatchError,
    VersionExistsError,
)
from assetd_server.manifest import Manifest
from assetd_server.model import AssetKind, AssetName, Digest
from assetd_server.store.claims import Claim
from assetd_server.versioning import Version, VersioningSystem, VersionSelector

# Stands in a plan until the bytes have been hashed; no claim is ever made with it.
NOT_KNOWN_YET = Digest.of_hex("0" * 64)


@dataclass(frozen=True)
class PushPlan:
    """What is to be created, once its bytes are known."""

    name: AssetName
    selector: VersionSelector
    bump_major: bool
    mode: PushMode | None
    kind: AssetKind
    digest: Digest
    push_id: str
    claim_id: str
    owner: str
    pushed_by: str
    labels: Mapping[str, str]
    default_system: VersioningSystem

    @classmethod
    def of(cls, header: PushHeader, default_system: VersioningSystem) -> "PushPlan":
        """Return what a header asks for, under a claim of its own."""
        return cls(
            name=header.spec.name,
            selector=header.spec.selector,
            bump_major=header.bump is Bump.MAJOR,
            mode=header.mode,
            # Of what lies somewhere it is found out there.
            kind=header.kind or AssetKind.DIRECTORY,
            digest=header.digest or NOT_KNOWN_YET,
            push_id=header.push_id or str(uuid.uuid4()),
            claim_id=uuid.uuid4().hex,
            owner=socket.gethostname(),
            pushed_by=header.pushed_by or socket.gethostname(),
            labels=header.labels,
            default_system=default_system,
        )

    def is_of(self, content: Claim | Manifest) -> bool:
        """Tell whether that is what the push brings.

        A digest alone does not say: a file may be the very list that a directory's digest is of.
        """
        return (content.kind, content.digest) == (self.kind, self.digest)


@dataclass(frozen=True)
class ExistingVersion:
    """The version is there already, with this push's content."""

    name: AssetName
    version: Version
    manifest: Manifest


def require_mode(plan: PushPlan, survey: Survey) -> None:
    """Check that the asset is there, or is not, as the push demands.

    Raises:
        AssetNotFoundError, AssetExistsError: it is not so.
        PushInProgressError: it is to be new, and others are making it.
    """
    if plan.mode is PushMode.UPDATE and not survey.is_begun:
        raise AssetNotFoundError(
            "there is no asset {name} to update: push it as a new one", name=plan.name
        )
    is_unwanted = plan.mode is PushMode.NEW and survey.is_begun
    if is_unwanted and survey.committed_by(plan.push_id) is None:
        raise AssetExistsError(
            "the asset {name} exists, its newest version is {newest}: push an update of it",
            name=plan.name,
            newest=survey.known.newest,
        )
    others = survey.claimed_by_others(plan.push_id) - {plan.selector.exact}
    if plan.mode is PushMode.NEW and not survey.is_begun and others:
        raise contended(plan)


def require_system(plan: PushPlan, survey: Survey, version: Version) -> None:
    """Check that an index could list the version beside those that are there, or are being made.

    Raises:
        InvalidVersionError: it could not.
        PushInProgressError: it could not if the first version becomes what others make it.
    """
    if survey.is_begun and version.system is not survey.known.system:
        raise InvalidVersionError(
            "{name} has versions such as {newest}, and {version} is of the other system: push the"
            " next of its own, or an asset of another name",
            field="header.spec",
            name=plan.name,
            newest=survey.known.newest,
            version=version,
        )
    others = survey.claimed_by_others(plan.push_id)
    if not survey.is_begun and any(other.system is not version.system for other in others):
        raise contended(plan)


def require_equal(plan: PushPlan, version: Version, manifest: Manifest) -> None:
    """Check that what exists is what the push brings.

    Raises:
        VersionExistsError, PushMismatchError: it is not, or cannot be compared.
    """
    if plan.is_of(manifest):
        return
    if manifest.push_id == plan.push_id:
        require_same_content(plan, manifest)
    raise VersionExistsError(
        "{name}:{version} exists as a {kind} with {existing}: push the next version, versions never"
        " change",
        name=plan.name,
        version=version,
        kind=manifest.kind.value,
        existing=manifest.digest or "content that modelkit pushed without a digest",
    )


def require_same_content(plan: PushPlan, before: Claim | Manifest) -> None:
    """Check that the push brings what it brought before under the same id.

    Raises:
        PushMismatchError: it does not.
    """
    if not plan.is_of(before):
        raise PushMismatchError(
            "the push {push_id} stands for a {first_kind} with {first}, and now sends a {kind} with"
            " {second}: use a new push_id for new content",
            push_id=plan.push_id,
            first_kind=before.kind.value,
            first=before.digest,
            kind=plan.kind.value,
            second=plan.digest,
        )


def contended(plan: PushPlan) -> PushInProgressError:
    """Return the failure of a push that others have kept from its version."""
    return PushInProgressError(
        "other pushes of {name} got in the way every time: push it again", name=plan.name
    )
