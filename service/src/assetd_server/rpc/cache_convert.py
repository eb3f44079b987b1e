"""Requests of CacheService into the orders that the assets understand; see `rpc.convert`."""

from assetd.v1 import cache_service_pb2

from assetd_server.assets.cache_orders import EvictOrder, Selector, VerifyOrder
from assetd_server.errors import InvalidFieldError
from assetd_server.model import NamePrefix
from assetd_server.rpc.fields import field_named
from assetd_server.rpc.later_fields import require_built
from assetd_server.spec import Spec


def evict_order(request: cache_service_pb2.EvictRequest) -> EvictOrder:
    """Return what the request asks.

    Raises:
        NotBuiltError: a field of a later release is set.
        InvalidSpecError, InvalidNameError, InvalidVersionError, InvalidPartError: the spec is none.
        InvalidFieldError: the selector selects nothing or no exact version, or no name begins with
            its prefix.
    """
    require_built(request)
    return EvictOrder(_selector(request.selector), dry_run=request.dry_run)


def verify_order(request: cache_service_pb2.VerifyRequest) -> VerifyOrder:
    """Return what the request asks.

    Raises: as `evict_order`.
    """
    require_built(request)
    return VerifyOrder(_selector(request.selector), repair=request.repair)


def exact_spec(text: str, field: str = "spec") -> Spec:
    """Return the spec of one version, named in full.

    Raises:
        InvalidSpecError, InvalidNameError, InvalidVersionError, InvalidPartError: it is none.
        InvalidFieldError: it leaves the version open, or names a part.
    """
    with field_named(field):
        spec = Spec.parse(text)
    if spec.exact is None or spec.part is not None:
        raise InvalidFieldError(
            "{spec!r} has to name one version in full and no part, as in name:1.2",
            field=field,
            spec=spec,
        )
    return spec


def _selector(selector: cache_service_pb2.CacheSelector) -> Selector:
    match selector.WhichOneof("selector"):
        case "spec":
            return Selector(spec=exact_spec(selector.spec, "selector.spec"))
        case "name_prefix" if selector.name_prefix:
            with field_named("selector.name_prefix"):
                return Selector(name_prefix=NamePrefix(selector.name_prefix))
        case "all" if selector.all:
            return Selector()
    raise InvalidFieldError(
        "selector selects nothing: set spec, a name_prefix that is not empty, or all to true",
        field="selector",
    )
