#!/bin/sh
# Make .venv ready for work: the server, the SDK with its agent, and the tools that check and test them.
# Run by every make target; returns at once when nothing has changed. PYTHON=/path/to/python chooses the interpreter.
set -eu
unset CDPATH
cd -P -- "$(dirname -- "$0")/.."
here=$(pwd -P)

say() { printf '%s\n' "$*"; }
fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

# What an installation rests on. The place is part of it: the commands in .venv/bin hold absolute paths.
wanted() { cksum pyproject.toml sdk/pyproject.toml scripts/setup.sh && printf '%s\n' "$here"; }
runs_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
can_make_venvs() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }
version_of() { "$1" -c 'import platform; print(platform.python_version())'; }
uv_present() { command -v uv >/dev/null 2>&1 && uv pip install --help 2>/dev/null | grep -q -e --group; }

# Dependency groups came with pip 25.1; most Pythons bring an older one along.
pip_knows_groups() {
    .venv/bin/python -c 'import pip, sys; sys.exit(tuple(map(int, pip.__version__.split(".")[:2])) < (25, 1))'
}

venv_is_ours() {
    runs_new_enough .venv/bin/python && grep -qF -e "$here/.venv" .venv/bin/activate 2>/dev/null
}

# Sets `python` to the first interpreter that will do, and `incomplete` to the first that only lacks its venv module.
find_python() {
    python='' incomplete=''
    if [ -n "${PYTHON:-}" ]; then
        set -- "$PYTHON"
    else
        set -- python3 python3.14 python3.13 python3.12 python3.11 python
    fi
    for candidate in "$@"; do
        found=$(command -v "$candidate" 2>/dev/null) || continue
        runs_new_enough "$found" || continue
        if [ "$installer" = uv ] || can_make_venvs "$found"; then
            python=$found
            return
        fi
        [ -n "$incomplete" ] || incomplete=$found
    done
}

say_what_is_missing() {
    if [ -n "$incomplete" ]; then
        package=python3-venv
        case $incomplete in */python3.*) package=${incomplete##*/}-venv ;; esac
        fail "Python $(version_of "$incomplete") ($incomplete) lacks its venv module." \
            "On Debian and Ubuntu: apt install $package, then run this again."
    fi
    if [ -n "${PYTHON:-}" ]; then
        fail "PYTHON=$PYTHON is no Python 3.11 or newer: name another, or leave PYTHON unset to have one found."
    fi
    fail "No Python 3.11 or newer was found." \
        "Install one (Debian and Ubuntu: apt install python3 python3-venv; macOS: brew install python)," \
        "or name it: make PYTHON=/path/to/python3"
}

make_venv() {
    find_python
    if [ -z "$python" ] && { [ "$installer" = pip ] || [ -n "${PYTHON:-}" ]; }; then
        say_what_is_missing
    fi
    if [ -e .venv ] && { [ ! -w .venv ] || ! rm -rf .venv; }; then
        fail "$here/.venv cannot be replaced: it belongs to somebody else. Remove it as its owner, then run this again."
    fi
    if [ "$installer" = pip ]; then
        say "Making .venv with Python $(version_of "$python")."
        "$python" -m venv .venv
    elif [ -n "$python" ]; then
        say "Making .venv with Python $(version_of "$python") and uv."
        uv venv --quiet --python "$python" .venv
    else
        say "Making .venv with uv, which brings Python 3.13."
        uv venv --quiet --python 3.13 .venv || say_what_is_missing
    fi
}

# The lines of the next two are chained, because their caller's `||` switches `set -e` off inside them.
install_with_pip() {
    { .venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip >/dev/null; } &&
        { pip_knows_groups || .venv/bin/python -m pip install -qq --upgrade 'pip>=25.1'; } &&
        .venv/bin/python -m pip install -qq -e . -e './sdk[agent]' --group dev
}

install_with_uv() {
    uv pip install --quiet --python .venv/bin/python -e . -e './sdk[agent]' --group dev
}

main() {
    stamp=.venv/installed
    if [ -f "$stamp" ] && [ "$(wanted)" = "$(cat "$stamp")" ] && runs_new_enough .venv/bin/python; then
        return
    fi
    installer=pip
    if uv_present; then installer=uv; fi
    venv_is_ours || make_venv
    say "Installing packages into .venv (a minute or two the first time)."
    rm -f "$stamp"
    "install_with_$installer" ||
        fail "The packages could not be installed, for the reason above. Run this again when it is mended."
    wanted >"$stamp"
    say "Ready."
}

# A user-wide `user = true` would have pip refuse to install into .venv.
export PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1
main
