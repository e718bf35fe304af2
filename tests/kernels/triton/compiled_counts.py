"""Compile the kernel of contiguous dropout without a GPU and print its registers, spills and instructions as JSON.

python compiled_counts.py CAPABILITY DTYPE
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from thinned.kernels.triton.backend import run_tile
from thinned.kernels.triton.elementwise.runs import run_kernel

INTEGER = "IMAD IADD3 IADD LOP3 SHF ISETP SEL PRMT LEA MOV VIADD PLOP3 IMNMX VIMNMX P2R R2P IABS".split()  # noqa: SIM905
tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"


def main(capability: int, dtype: str) -> None:
    """Compile and count."""
    tile = run_tile(1 << 20)
    constants = dict.fromkeys(("residual", "key", "call", "keep", "constants"))
    constants |= {"FORM": 0, "GROUPS": tile.groups, "UNIT": 16}
    constants |= dict.fromkeys(("OUTER", "LEADING", "CARRY", "GUARD", "SOFT"), False)
    types = {"out": f"*{dtype}", "x": f"*{dtype}", "scale": "fp32", "shift": "fp32", "dropped": "fp32"}
    signature = {n: "constexpr" if n in constants else types.get(n, "i32") for n in run_kernel.arg_names}
    aligned = {(run_kernel.arg_names.index(n),): [["tt.divisibility", 16]] for n in ("out", "x", "n")}
    source = ASTSource(fn=run_kernel, signature=signature, constexprs=constants, attrs=aligned)
    options = {"num_warps": tile.warps, "enable_fp_fusion": False}
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        run = subprocess.run([tool, "-sass", "-res-usage", file.name], capture_output=True, text=True, check=True)
    names = re.findall(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+ )?([A-Z0-9]+)", run.stdout, re.MULTILINE)
    registers, stack = re.search(r"REG:(\d+) STACK:(\d+)", run.stdout).groups()
    elements = tile.groups * 128 / (32 * tile.warps)
    counts = {
        "registers": int(registers),
        "stack": int(stack),
        "integer": sum(name in INTEGER for name in names) / elements,
        "all": len(names) / elements,
        "shared": sum(name in {"LDS", "STS", "BAR", "SHFL"} for name in names),
    }
    print(json.dumps(counts))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
