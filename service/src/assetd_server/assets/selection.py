"""Which parts of a version are meant: those that a caller's spec, globs or `part_only` choose.

Pure. The same words mean the same parts wherever the manifest comes from: the store, a receipt, or
what stands on the disk.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from assetd_server.assets.globs import PartFilter
from assetd_server.errors import InvalidFieldError, PartNotFoundError
from assetd_server.manifest import Manifest, Part
from assetd_server.model import AssetKind, PartPath
from assetd_server.spec import Spec


@dataclass(frozen=True)
class Selection:
    """Some parts of a version. Two callers with equal selections want the same parts.

    Either the part or folder `folder` (`part_only`), or exactly `names` (a repair), or what the
    globs choose.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    folder: PartPath | None = None
    names: frozenset[PartPath] | None = None

    @classmethod
    def of_globs(cls, include: Sequence[str], exclude: Sequence[str]) -> "Selection":
        """Return what the globs choose, in whatever order they come.

        Raises:
            InvalidFieldError: one of them is no glob, or there are too many.
        """
        PartFilter(include, exclude)
        return cls(tuple(sorted(set(include))), tuple(sorted(set(exclude))))

    def chosen(self, parts: Sequence[Part]) -> tuple[Part, ...]:
        """Return those of `parts` that are meant, maybe none."""
        folder = self.folder
        if folder is not None:
            return tuple(part for part in parts if part.path.is_below(folder))
        if self.names is not None:
            return tuple(part for part in parts if part.path in self.names)
        globs = PartFilter(self.include, self.exclude)
        return tuple(part for part in parts if globs.matches(part.path))

    def require_no_globs(self, spec: Spec) -> None:
        """Check that nothing is chosen among parts, where there are none.

        Raises:
            InvalidFieldError: there are globs.
        """
        if self.folder is None and self.names is None:
            raise InvalidFieldError(
                "{spec} is no directory asset, so there are no parts to choose from: leave include"
                " and exclude out",
                field="include" if self.include else "exclude",
                spec=spec,
            )


def wanted_parts(
    spec: Spec, manifest: Manifest, selection: Selection | None = None
) -> tuple[Part, ...]:
    """Return the parts of the version that are wanted; without a selection all of them.

    Raises:
        PartNotFoundError: none is, or the one that the spec names is not among them.
        InvalidFieldError: globs on a file asset, which has no parts to choose from.
    """
    if selection is not None and manifest.kind is AssetKind.FILE:
        selection.require_no_globs(spec)
    require_part(spec, manifest.parts)
    if selection is None:
        return manifest.parts
    wanted = selection.chosen(manifest.parts)
    if not wanted:
        raise PartNotFoundError(
            "{name}:{version} has no part that include and exclude choose: `ListFiles` takes the"
            " same globs and tells what it has",
            name=spec.name,
            version=spec.selector,
            include=", ".join(selection.include),
            exclude=", ".join(selection.exclude),
        )
    if spec.part and not any(part.path.is_below(spec.part) for part in wanted):
        raise PartNotFoundError(
            "{name}:{version} has the part {part}, but include and exclude leave it out: the answer"
            " could not point at it",
            name=spec.name,
            version=spec.selector,
            part=spec.part,
        )
    return wanted


def require_part(spec: Spec, parts: Sequence[Part]) -> None:
    """Check that the version has the part, or a folder of that name, which the spec names.

    Raises:
        PartNotFoundError: it has not; on a file asset always.
    """
    if spec.part and not any(part.path.is_below(spec.part) for part in parts):
        raise part_not_found(spec)


def part_not_found(spec: Spec) -> PartNotFoundError:
    """Return the error for a part that a version does not have."""
    return PartNotFoundError(
        "{name}:{version} has no part {part}: `ListFiles` tells what it has",
        name=spec.name,
        version=spec.selector,
        part=spec.part,
    )
