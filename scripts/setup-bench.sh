#!/bin/sh
# Make .venv-bench: the peers that `make bench` measures beside the product, kept away from the packages in .venv.
# Run by `make bench` after `make setup`; returns at once when nothing has changed. The benchmarks do without it too.
set -u
unset CDPATH
cd -P -- "$(dirname -- "$0")/.." || exit 1

wanted() { cksum pyproject.toml scripts/setup-bench.sh && .venv/bin/python --version && pwd -P; }
uv_present() { command -v uv >/dev/null 2>&1 && uv pip install --help 2>/dev/null | grep -q -e --group; }

install_with_uv() {
    uv venv --quiet --python .venv/bin/python .venv-bench &&
        uv pip install --quiet --python .venv-bench/bin/python --group bench
}

# Dependency groups came with pip 25.1; most Pythons bring an older one along.
install_with_pip() {
    .venv/bin/python -m venv .venv-bench &&
        .venv-bench/bin/python -m pip install -qq --upgrade 'pip>=25.1' &&
        .venv-bench/bin/python -m pip install -qq --group bench
}

export PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1
stamp=.venv-bench/installed
if [ -f "$stamp" ] && [ "$(wanted)" = "$(cat "$stamp")" ]; then exit 0; fi
echo "Installing the peers to measure against into .venv-bench." >&2
rm -rf .venv-bench
if uv_present; then install_with_uv; else install_with_pip; fi >&2 || {
    rm -rf .venv-bench
    echo "The peers could not be installed, for the reason above: the benchmarks run without them." >&2
    exit 0
}
wanted >"$stamp"
