# Read by scripts that install programs from Debian.
POLICY=/usr/sbin/policy-rc.d

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Debian starts a service when it is installed, unless this file says no. We start our own, on other ports.
keep_quiet() {
    [ -e "$POLICY" ] && return
    trap 'as_root rm -f "$POLICY"' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$POLICY" >/dev/null && as_root chmod 755 "$POLICY"
}
