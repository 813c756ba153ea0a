# SPDX-License-Identifier: MIT
# Read by the scripts that install what they need.
# shellcheck shell=bash

# need NAME...: makes sure that each program, pkg-config module (NAME.pc), or file (/PATH) is
# there, and installs the packages of those that are not. Looks first, so that a machine that has
# everything needs neither network nor root. Chatter goes to stderr.
need() {
    local name packages=() as=()
    for name in "$@"; do
        have "$name" || packages+=("$(package_of "$name")")
    done
    ((${#packages[@]} == 0)) && return 0
    if ! command -v apt-get >/dev/null; then
        echo "missing: ${packages[*]} (Debian's names); please install them" >&2
        return 1
    fi
    if ((EUID != 0)); then
        as=(sudo -n)
    fi
    echo "installing: ${packages[*]}" >&2
    {
        "${as[@]}" apt-get update -q &&
            "${as[@]}" env DEBIAN_FRONTEND=noninteractive \
                apt-get install -qy --no-install-recommends "${packages[@]}"
    } </dev/null >&2
}

have() {
    case $1 in
        /*) [[ -e $1 ]] ;;
        *.pc) pkg-config --exists "${1%.pc}" 2>/dev/null ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

package_of() {
    case $1 in
        ninja) echo ninja-build ;;
        liburing.pc) echo liburing-dev ;;
        catch2.pc) echo catch2 ;;
        clang++-19) echo clang-19 ;;
        /*clang/19/*) echo libclang-rt-19-dev ;;
        *) echo "$1" ;;
    esac
}
