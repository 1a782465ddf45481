"""The weights of images with LoRAs: copies of the model's parameters with the LoRAs merged in.

A copy has only the parameters that its LoRAs change; it shares the others with the model. Programs
take weights as arguments, so a copy needs no compilation. Of an int8 UNet LoRAs are merged into the
weights from before they were rounded, and what changed is quantised as when the model was loaded
(see `quantization.source`). At most `sets` copies of the UNet are on
the devices, and as many of the text encoders, which are only needed while prompts are encoded. The
copy that was not used for the longest time makes way for a new one, unless lanes use it: the step
scheduler lets at most `sets` sets of LoRAs run at once.

A parameter whose changes all are products of low rank is merged on the devices (see `merging`),
any other one on the host (see `lora.merge`). Which of the two it is depends on the LoRAs alone, so
the same LoRAs always give the same bytes. On the host a whole SDXL takes a minute of one core, so
`prepare` merges on a thread of its own, while the devices make other images.
"""

import gc
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import numpy as np
from jax import Array
from numpy.typing import NDArray

from easel_worker.engine import READING, InvalidRequest, LoraUse, Merges
from easel_worker.sdxl.folder.model import SdxlParams, TextParams
from easel_worker.sdxl.folder.shelf import Shelf
from easel_worker.sdxl.folder.weights import Put
from easel_worker.sdxl.lora.file import Lora, LoraError
from easel_worker.sdxl.lora.merge import Factors, Weighted, changed, merge
from easel_worker.sdxl.lora.targets import TEXT, TEXT_2, UNET, ParamKey, declarations
from easel_worker.sdxl.model.config import SdxlConfig
from easel_worker.sdxl.model.params import declared
from easel_worker.sdxl.model.unet import UNet
from easel_worker.sdxl.quantization.source import Source
from easel_worker.sdxl.serving.merging import MOST_RANK, MergePrograms

P = TypeVar("P")


@dataclass(eq=False)
class Copy(Generic[P]):
    """Parameters on the devices, and the lanes that use them."""

    params: P
    users: "weakref.WeakSet[Any]" = field(default_factory=weakref.WeakSet)


class Adapters:
    """Gives the parameters for any LoRAs. Not safe for several threads.

    `prepare` makes one copy at a time on another thread; `unet` and `text` make what is missing at
    once.
    """

    def __init__(
        self,
        config: SdxlConfig,
        params: SdxlParams,
        put: Put,
        merges: MergePrograms,
        *,
        shelf: Shelf[Lora] | None = None,
        sets: int = 1,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Args:

        config: the model's configuration.
        params: its parameters, on the devices.
        put: places an array on the devices.
        merges: compiled before any LoRA is asked for.
        shelf: the LoRAs; None for none.
        sets: how many copies may be on the devices.
        report: called with a line for each LoRA that cannot be read.
        """
        self._params = params
        self._put = put
        self._merges = merges
        self._shelf = shelf
        self._report = report
        self._declared = declarations(config)
        self._own = Copy(params.unet)
        self._unets: _Recent[Copy[UNet]] = _Recent(sets, lambda copy: bool(copy.users))
        self._texts: _Recent[TextParams] = _Recent(sets, lambda _: False)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=READING)
        self._merging: tuple[_Wanted, Future[_Made]] | None = None
        self._failed: dict[Hashable, BaseException] = {}
        self._made, self._seconds = 0, 0.0

    @property
    def source(self) -> Source | None:
        """What the UNet was quantised from; None if it is not."""
        return self._params.source

    @property
    def parameters(self) -> list[Any]:
        """All parameters that LoRAs may change, as they are merged into."""
        return jax.tree.leaves((self._mergeable, self._params.text))

    @property
    def _mergeable(self) -> UNet:
        source = self._params.source
        return self._params.unet if source is None else source.unet

    def merges(self) -> Merges:
        """See `Engine.merges`."""
        return Merges(len(self._unets), self._made, self._seconds)

    def prepare(
        self, loras: Sequence[LoraUse], ready: Callable[[], None], *, encodes: bool = True
    ) -> bool:
        """Begin to make the copies that an image needs, unless they are there.

        Args:
            loras: the image's.
            ready: called on another thread when a copy is made, also if that failed.
            encodes: whether the image needs the text encoders: its prompts are not encoded yet.

        Returns:
            Whether nothing is missing. What made a copy impossible, `unet` or `text` raises next.
        """
        if self._merging is not None:
            if not self._merging[1].done():
                return not self._missing(loras, encodes)
            self._keep(*self._merging)
            self._merging = None
        missing = self._missing(loras, encodes)
        if missing is None:
            return True
        missing.recent.make_room()
        made = self._thread.submit(_timed, missing.make)
        self._merging = missing, made
        made.add_done_callback(lambda _: ready())
        return False

    def _keep(self, wanted: "_Wanted", made: "Future[_Made]") -> None:
        """Keep a copy that was made on the other thread, or why it was not."""
        self._failed.clear()  # nobody asked for it: the image was cancelled
        error = made.exception()
        if error is None:
            wanted.recent.put(wanted.key, self._counted(made.result()))
        else:
            self._failed[wanted.key] = error

    def _missing(self, loras: Sequence[LoraUse], encodes: bool) -> "_Wanted | None":
        """The next copy to make for an image; None if it has all, or cannot have one."""
        text = self._wanted_text(loras) if encodes else None
        for wanted in (self._wanted_unet(loras), text):
            if wanted is not None and wanted.key in self._failed:
                return None
            if wanted is not None and wanted.key not in wanted.recent:
                return wanted
        return None

    def unet(self, loras: Sequence[LoraUse]) -> Copy[UNet]:
        """The UNet with LoRAs merged in, by their `unet_weight`.

        Raises:
            InvalidRequest: a file cannot be read, or is another one now.
        """
        wanted = self._wanted_unet(loras)
        return self._own if wanted is None else self._get(wanted)

    def release(self, lane: Any) -> None:
        """A lane needs the UNet with its LoRAs no more."""
        for copy in self._unets.values():
            copy.users.discard(lane)

    def _wanted_unet(self, loras: Sequence[LoraUse]) -> "_Wanted | None":
        uses = [(use, use.unet_weight) for use in loras if use.unet_weight]
        if not uses:
            return None

        def make() -> Copy[UNet]:
            return Copy(self._merged_unet(uses))

        return _Wanted((UNET, *_key(uses)), self._unets, make)

    def text(self, loras: Sequence[LoraUse]) -> TextParams:
        """The text encoders with LoRAs merged in, by their `text_weight`. See `unet`."""
        wanted = self._wanted_text(loras)
        return self._params.text if wanted is None else self._get(wanted)

    def _wanted_text(self, loras: Sequence[LoraUse]) -> "_Wanted | None":
        uses = [(use, use.text_weight) for use in loras if use.text_weight]
        if not uses:
            return None
        own = self._params.text

        def make() -> TextParams:
            # A refiner has the second one only.
            first = None if own.first is None else self._merged(TEXT, own.first, uses)
            return TextParams(first, self._merged(TEXT_2, own.second, uses))

        return _Wanted((TEXT, *_key(uses)), self._texts, make)

    def _get(self, wanted: "_Wanted") -> Any:
        if (error := self._failed.pop(wanted.key, None)) is not None:
            raise error
        return wanted.recent.get(wanted.key, lambda: self._counted(_timed(wanted.make)))

    def _counted(self, made: "_Made") -> Any:
        self._made += 1
        self._seconds += made.seconds
        return made.value

    def _merged_unet(self, uses: Sequence[tuple[LoraUse, float]]) -> UNet:
        source = self._params.source
        if source is None:
            return self._merged(UNET, self._params.unet, uses)
        loras = self._files(uses)
        names = {key.name for key in changed(loras, UNET)}
        copy = source.begin(names, self._put)
        for name, values in self._changed(UNET, source.unet, uses):
            copy.change(name, values)
        return copy.finish()

    def _merged(self, component: str, own: P, uses: Sequence[tuple[LoraUse, float]]) -> P:
        """A component's parameters; those that no LoRA changes are the model's own arrays."""
        leaves, tree = jax.tree.flatten(own)
        places = self._places(component)
        for name, values in self._changed(component, own, uses):
            leaves[places[name]] = values
        merged: P = jax.tree.unflatten(tree, leaves)
        return merged

    def _changed(
        self, component: str, own: Any, uses: Sequence[tuple[LoraUse, float]]
    ) -> Iterator[tuple[str, Array]]:
        """The names and the new values of a component's parameters that LoRAs change.

        Args:
            component: of `targets.COMPONENTS`.
            own: its parameters, in the order of its declarations.
            uses: the LoRAs with their weights.
        """
        leaves, places = jax.tree.leaves(own), self._places(component)

        def base(key: ParamKey) -> NDArray[np.generic]:
            return np.asarray(leaves[places[key.name]])

        try:
            for each in merge(self._files(uses), component, base, most_rank=MOST_RANK):
                leaf = leaves[places[each.key.name]]
                if isinstance(each, Factors):
                    onto = self._put(leaf, each.param) if isinstance(leaf, np.ndarray) else leaf
                    yield each.key.name, self._merges.run(onto, each.down, each.up)
                    continue
                values = np.ascontiguousarray(each.values, dtype=leaf.dtype)
                yield each.key.name, self._put(values, each.param)
        except LoraError as error:
            names_of = ", ".join(use.name for use, _ in uses)
            self._report(f"the LoRA {names_of} cannot be used: {error}")
            raise InvalidRequest(
                f"the LoRA {names_of} cannot be used: its file cannot be read any more, or has "
                "numbers that are too large"
            ) from error

    def _places(self, component: str) -> dict[str, int]:
        """Where a component's parameters are among its leaves, by their names."""
        return {p.name: place for place, p in enumerate(declared(self._declared[component]))}

    def _files(self, uses: Sequence[tuple[LoraUse, float]]) -> list[Weighted]:
        return [Weighted(self._file(use), weight) for use, weight in uses]

    def _file(self, use: LoraUse) -> Lora:
        shelved = None if self._shelf is None else self._shelf.table.get(use.name)
        if shelved is None or shelved.digest != use.digest or not shelved.unchanged():
            raise InvalidRequest(
                f"the LoRA {use.name} with digest {use.digest} is not here any more: ask which "
                "LoRAs there are"
            )
        return shelved.item


@dataclass(frozen=True)
class _Wanted:
    """A copy that an image needs: where it is kept, and how it is made."""

    key: Hashable
    recent: "_Recent[Any]"
    make: Callable[[], Any]


class _Made(NamedTuple):
    """A copy, and the seconds that the host took for it."""

    value: Any
    seconds: float


def _timed(make: Callable[[], Any]) -> _Made:
    start = time.perf_counter()
    value = make()
    return _Made(value, time.perf_counter() - start)


def _key(uses: Sequence[tuple[LoraUse, float]]) -> tuple[Hashable, ...]:
    return tuple((use.digest, weight) for use, weight in uses)


class _Recent(Generic[P]):
    """The values used last, at most so many, and never without those in use."""

    def __init__(self, most: int, in_use: Callable[[P], bool]) -> None:
        self._most = most
        self._in_use = in_use
        self._known: OrderedDict[Hashable, P] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], P]) -> P:
        """The value of a key: the known one, or a new one, before which others are dropped.

        Raises:
            RuntimeError: all places are in use.
        """
        if key not in self._known:
            self.make_room()
            self._known[key] = make()
        self._known.move_to_end(key)
        return self._known[key]

    def put(self, key: Hashable, value: P) -> None:
        """Keep a new value that was made after `make_room`."""
        self.make_room()
        self._known[key] = value

    def make_room(self) -> None:
        """Drop values until one more has a place.

        Raises:
            RuntimeError: all places are in use.
        """
        while len(self._known) >= self._most:
            self._drop()

    def values(self) -> tuple[P, ...]:
        """The known values."""
        return tuple(self._known.values())

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._known

    def _drop(self) -> None:
        for _ in range(2):
            for key, value in self._known.items():
                if not self._in_use(value):
                    del self._known[key]
                    return
            gc.collect()  # lanes that ended in an exception may still be in its traceback
        raise RuntimeError("all copies of the weights are in use by images with other LoRAs")
