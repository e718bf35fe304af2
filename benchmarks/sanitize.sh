#!/usr/bin/env bash
# The self-test and the extension's own tests under AddressSanitizer and UndefinedBehaviorSanitizer; the self-test also
# under ThreadSanitizer, under valgrind where that is installed, and for arm64 where a cross compiler and qemu are (Debian:
# g++-aarch64-linux-gnu, qemu-user-static). Some minutes; needs gcc and the test requirements.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

for sanitizers in address,undefined thread; do
    cmake -S . -B "$out/$sanitizers" -DTHINNED_SELFTEST=ON -DCMAKE_BUILD_TYPE=Release -DTHINNED_SANITIZE=$sanitizers >"$out/log"
    cmake --build "$out/$sanitizers" -j2 >>"$out/log" 2>&1
    echo "== self-test, $sanitizers"
    "$out/$sanitizers/selftest"
done
if command -v valgrind >/dev/null; then
    cmake -S . -B "$out/plain" -DTHINNED_SELFTEST=ON -DCMAKE_BUILD_TYPE=Release >"$out/log"
    cmake --build "$out/plain" -j2 >>"$out/log" 2>&1
    echo "== self-test, valgrind (it has no AVX-512)"
    valgrind --quiet --error-exitcode=9 "$out/plain/selftest" 1
fi

if command -v aarch64-linux-gnu-g++ >/dev/null && command -v qemu-aarch64-static >/dev/null; then
    cmake -S . -B "$out/arm64" -DTHINNED_SELFTEST=ON -DCMAKE_BUILD_TYPE=Release -DCMAKE_SYSTEM_NAME=Linux \
        -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ \
        -DCMAKE_EXE_LINKER_FLAGS=-static >"$out/log"
    cmake --build "$out/arm64" -j2 >>"$out/log" 2>&1
    echo "== self-test, NEON"
    qemu-aarch64-static "$out/arm64/selftest" 1
fi

echo "== the extension's tests, address,undefined"
cmake -S . -B "$out/extension" -DCMAKE_BUILD_TYPE=Release -DTHINNED_SANITIZE=address,undefined \
    -DPython_EXECUTABLE="$(realpath -s "$python")" \
    -Dnanobind_DIR="$("$python" -c 'import nanobind; print(nanobind.cmake_dir())')" >"$out/log"
cmake --build "$out/extension" -j2 >>"$out/log" 2>&1
mkdir "$out/path"
cp -r src/thinned "$out/path/"
cp "$out"/extension/_native*.so "$out/path/thinned/"
# a forked child and a new process each would need the preload handled anew: those tests run unsanitized
LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 \
    PYTHONPATH="$out/path" "$python" -c '
import sys
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in type(finder).__module__.lower()]
import pytest, thinned
assert thinned.__file__.startswith(sys.argv[1]), thinned.__file__
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "tests/test_philox.py", "tests/kernels",
                      "tests/studies/training/test_native_cohort.py",
                      "-k", "not forked and not environment and not unknown"]))
' "$out/path"
