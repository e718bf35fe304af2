"""The compiled extension: places of memory (`data_ptr`), lengths and strides in elements, addresses of masks."""

def dropout(
    form: int,
    dtype: int,
    dst: int,
    src: int,
    residual: int,
    n: int,
    offset: int,
    key: int,
    call: int,
    keep: int,
    threads: int,
    /,
) -> None: ...
def dropout_members(
    form: int,
    dtype: int,
    dst: int,
    src: int,
    residual: int,
    members: int,
    n: int,
    key: int,
    keys: int,
    key_stride: int,
    call: int,
    keep: int,
    keeps: int,
    keep_stride: int,
    threads: int,
    /,
) -> None: ...
def dropout_strided(
    form: int,
    dtype: int,
    dst: int,
    src: int,
    residual: int,
    members: list[int],
    axes: list[int],
    offset: int,
    key: int,
    keys: int,
    key_stride: int,
    call: int,
    keep: int,
    keeps: int,
    keep_stride: int,
    threads: int,
    /,
) -> None: ...
def attention_forward(
    scores: int, lse: int, rows: int, columns: int, first: int, step: int, key: int, call: int, keep: int, threads: int, /
) -> None: ...
def attention_backward(
    scores: int,
    grads: int,
    lse: int,
    delta: int,
    rows: int,
    columns: int,
    first: int,
    step: int,
    key: int,
    call: int,
    keep: int,
    threads: int,
    /,
) -> None: ...
def keep_mask(dst: int, packed: bool, offset: int, n: int, key: int, call: int, keep: int, threads: int, /) -> None: ...
def words(dst: int, group: int, groups: int, key: int, call: int, /) -> None: ...
def normals(dst: int, offset: int, n: int, key: int, call: int, threads: int, /) -> None: ...
def thresholds(dst: int, p: int, stride: int, n: int, /) -> int: ...
def isas() -> list[str]: ...
def isa() -> str: ...
def use_isa(name: str, /) -> bool: ...
def thread_pool() -> str: ...
