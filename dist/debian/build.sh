#!/bin/sh
# Builds the package for Debian: what `make install` installs, and around it what Debian wants.
# Usage: dist/debian/build.sh BINARY FOLDER
set -eu
umask 022
binary=$1
folder=$2

here=dist/debian
version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"$/\1/p' Cargo.toml)
architecture=$(dpkg --print-architecture)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
doc=$root/usr/share/doc/wasm-pool-host

make --no-print-directory --silent install \
	DESTDIR="$root" PREFIX=/usr SYSCONFDIR=/etc BINARY="$binary" >/dev/null
install -D -m 644 dist/host.toml "$root/etc/wasm-pool-host/host.toml"

# Where zsh looks for completions of packages on Debian.
mkdir "$root/usr/share/zsh/vendor-completions"
mv "$root/usr/share/zsh/site-functions/_wasm-pool-host" "$root/usr/share/zsh/vendor-completions"
rmdir "$root/usr/share/zsh/site-functions"

# Debian has the text of the license already, and wants manuals compressed.
rm "$doc/LICENSE"
install -m 644 "$here/copyright" "$doc/copyright"
sed "s/@VERSION@/$version/" "$here/changelog" | gzip -9n >"$doc/changelog.gz"
gzip -9n "$root"/usr/share/man/man1/*.1

# The libraries that the binary was linked with, in the versions that it needs.
libraries() {
	if command -v dpkg-shlibdeps >/dev/null; then
		mkdir "$work/debian"
		: >"$work/debian/control"
		(cd "$work" && dpkg-shlibdeps -O "$root/usr/bin/wasm-pool-host" 2>/dev/null) |
			sed -n 's/^shlibs:Depends=//p'
	else
		# Those of this machine will do; older ones might.
		echo "libc6 (>= $(getconf GNU_LIBC_VERSION | cut -d ' ' -f 2)), libgcc-s1"
	fi
}

mkdir "$root/DEBIAN"
sed \
	-e "s/@VERSION@/$version/" \
	-e "s/@ARCHITECTURE@/$architecture/" \
	-e "s/@LIBRARIES@/$(libraries)/" \
	-e "s/@KIB@/$(du -sk --apparent-size --exclude DEBIAN "$root" | cut -f 1)/" \
	"$here/control" >"$root/DEBIAN/control"
echo /etc/wasm-pool-host/host.toml >"$root/DEBIAN/conffiles"
install -m 755 "$here/postinst" "$here/prerm" "$here/postrm" "$root/DEBIAN"
(cd "$root" && find usr -type f | LC_ALL=C sort | xargs md5sum >DEBIAN/md5sums)

mkdir -p "$folder"
dpkg-deb --root-owner-group --build "$root" \
	"$folder/wasm-pool-host_${version}_$architecture.deb"
