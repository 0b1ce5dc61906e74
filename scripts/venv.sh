# Sourced by scripts/demo and scripts/test from the repository's root: makes .venv and installs what the caller needs.
# PYTHON=/path/to/python chooses the interpreter; otherwise the newest suitable one on the PATH is taken.

OLDEST=3.11 NEWEST=3.14 # as requires-python in pyproject.toml
venv_python=.venv/bin/python

# Prints "3.12", fails if the interpreter does not start (a stub of a version manager, a moved virtual environment).
version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

suitable() { # version, e.g. 3.12
    local minor=${1#3.}
    [[ $1 == 3.* ]] && ((minor >= ${OLDEST#3.} && minor <= ${NEWEST#3.}))
}

find_python() { # prints the interpreter to make .venv with
    local candidate version seen=() candidates=(python3.14 python3.13 python3.12 python3.11 python3 python)
    if [[ -n ${PYTHON:-} ]]; then candidates=("$PYTHON"); fi
    for candidate in "${candidates[@]}"; do
        if ! command -v "$candidate" >/dev/null; then
            continue
        elif ! version=$(version_of "$candidate"); then
            seen+=("$candidate: does not start")
        elif ! suitable "$version"; then
            seen+=("$candidate: version $version")
        elif ! "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            seen+=("$candidate: version $version without venv (on Debian, Ubuntu: apt install python$version-venv)")
        else
            printf '%s\n' "$candidate"
            return
        fi
    done
    {
        echo "error: no suitable Python: fgrad needs $OLDEST to $NEWEST with venv and pip."
        if ((${#seen[@]})); then printf '  found %s\n' "${seen[@]}"; else echo "  found none named ${candidates[*]}"; fi
        echo "Install one from your package manager or python.org, or name one: PYTHON=/path/to/python3 $0"
    } >&2
    return 1
}

# The environment was made here (its scripts hold absolute paths) by a suitable Python: PYTHON's version if that is set.
venv_usable() {
    local version
    version=$(version_of "$venv_python") && suitable "$version" || return 1
    [[ $(.venv/bin/pip --version 2>/dev/null) == *" $(pwd -P)/.venv/"* ]] || return 1
    [[ -z ${PYTHON:-} || $(version_of "$PYTHON") == "$version" ]]
}

checksum() { # of pyproject.toml; sha256sum is not everywhere
    "$venv_python" -c 'import hashlib; print(hashlib.sha256(open("pyproject.toml", "rb").read()).hexdigest())'
}

# ensure_venv EXTRA: after it $venv_python has fgrad (editable) with this extra of pyproject.toml.
ensure_venv() {
    local extra=$1 python stamp sum
    if ! venv_usable; then
        python=$(find_python) || return 1
        if [[ -e .venv ]]; then echo "the old .venv cannot be used here: it is replaced"; fi
        echo "making .venv with $python ($(version_of "$python"))"
        "$python" -m venv --clear .venv || return 1
    fi
    stamp=.venv/installed-$extra
    sum=$(checksum) || return 1
    if [[ ! -f $stamp || $(<"$stamp") != "$sum" ]]; then
        echo "installing fgrad and its '$extra' dependencies into .venv (a minute or two, once)"
        if ! "$venv_python" -m pip install --quiet --disable-pip-version-check --editable ".[$extra]" </dev/null; then
            echo "error: the installation failed (the first run needs a network); see pip's messages above" >&2
            return 1
        fi
        printf '%s\n' "$sum" >"$stamp"
    fi
}
