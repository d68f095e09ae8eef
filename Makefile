# The targets that people and scripts use; `make help` lists them.
TARGET  := x86_64-unknown-linux-gnu
# Apart from the other builds, because its flags differ: neither makes the other stale.
STATIC  := RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --target $(TARGET)
# init at a fixed address: nothing to relocate, which is an eighth of its start.
FIXED   := RUSTFLAGS="-C target-feature=+crt-static -C relocation-model=static" cargo build --locked --target $(TARGET)
BIN     := target/bin
SCRIPTS := .ci/run tests/fuzz tests/in-the-open tests/install-deps $(addprefix images/,dist/archive dist/debian/postinst dist/debian/postrm dist/debian/prerm dist/epoch dist/notices dist/package dist/sbom dist/stage oci/bundle oci/crun oci/examples/podman oci/layout oci/run vm/disk vm/initramfs vm/kernel vm/run vm/tree)
# Held in the tree that they are built from, so that a test never meets another's binaries.
export JOBINIT_BIN ?= $(CURDIR)/$(BIN)

.DEFAULT_GOAL := help
.PHONY: help build demo demo-check demo-deploy vm-image vm oci-image oci dist check test fuzz deps bench

help: ## Lists the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Builds static release binaries into target/bin
	$(FIXED) --profile small -p init
	$(STATIC) --release -p bootctl -p proxyd -p demo -p demo-hello -p vm-relay -p vm-stopwatch -p vm-threshold
	@mkdir -p $(BIN)
	@install -m 755 target/$(TARGET)/small/init $(BIN)/
	@install -m 755 $(addprefix target/$(TARGET)/release/,bootctl proxyd demo demo-hello vm-relay vm-stopwatch vm-threshold) $(BIN)/

demo: build ## Starts the demo: init, bootctl, the proxy and two apps, until Ctrl-C
	@$(BIN)/demo

demo-check: build ## Starts the demo, tries all that it shows, and looks for remains
	@$(BIN)/demo --check

demo-deploy: build ## Starts the demo and deploys while clients ask, told live with the count
	@$(BIN)/demo --deploy

vm-image: build ## Assembles virtual machines: kernel and initramfs, and a disk that lasts
	images/vm/kernel
	images/vm/initramfs
	if command -v qemu-img >/dev/null; then QCOW2=1 images/vm/disk; else images/vm/disk; fi
	@echo "target/vm has initramfs, and disk with the threshold that leads to it; the kernel is target/vm-cache/vmlinuz."
	@echo "images/vm/run boots the one, ROOT=disk images/vm/run the other, which keeps what is written."

vm: vm-image ## Boots the binaries in QEMU, init as the kernel's init; ROOT=disk or qcow2 for a disk, made anew
	@images/vm/run

oci-image: build ## Assembles an OCI image, target/oci/image, and the demo's bundle, target/oci/bundle
	images/oci/layout
	images/oci/bundle
	@echo "target/oci/image is an image for whoever takes a layout: podman pull oci:target/oci/image"
	@echo "target/oci/bundle is the demo for a runtime: make oci"

oci: oci-image ## Runs the OCI bundle with crun, init as PID 1 (root)
	@images/oci/run

dist: build ## Packs a release into target/dist: archive, Debian package, what they are made of, checksums
	@command -v cargo-cyclonedx >/dev/null || cargo install --locked --debug cargo-cyclonedx
	rm -rf target/dist
	images/dist/notices
	images/dist/sbom
	images/dist/archive
	images/dist/package
	cd target/dist && sha256sum -- *.* NOTICES >SHA256SUMS && cat SHA256SUMS

check: ## Format, lints, shell scripts, licences and sources of dependencies
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	@if command -v shellcheck >/dev/null; then shellcheck $(SCRIPTS); \
	else echo "*** no shellcheck: the scripts go unchecked ***"; fi
	@command -v cargo-deny >/dev/null || cargo install --locked --debug --no-default-features cargo-deny
	cargo deny --locked --offline check bans licenses sources

deps: ## Installs what tests need, from Debian and crates.io, where it is missing
	@tests/install-deps
	@# Not optimised, which takes a third of the time: they work for a second, or wait for others.
	@command -v cargo-nextest >/dev/null || cargo install --locked --debug cargo-nextest
	@command -v cargo-fuzz >/dev/null || cargo install --locked --debug cargo-fuzz
	@command -v cargo-cyclonedx >/dev/null || cargo install --locked --debug cargo-cyclonedx

test: deps check build ## All checks and tests
	images/vm/kernel
	@# Tests wait for most of their time: there is one more at a time than there are cores, and the fuzz targets are
	@# built meanwhile, which gives way to them at once.
	chrt --idle 0 tests/fuzz build >target/fuzz-build.log 2>&1 & built=$$!; \
	cargo nextest run --locked --workspace --test-threads $$(($$(nproc) + 1)) || { kill $$built; exit 1; }; \
	wait $$built || { cat target/fuzz-build.log; exit 1; }
	tests/fuzz

fuzz: deps ## Feeds init's and proxyd's parsers with anything, FUZZ_SECONDS (60)
	tests/fuzz

bench: build ## Measures side by side with today's best; FIGURE=name for one
	@tests/install-deps bench
	images/vm/kernel
	cargo run --locked --release -q -p bench -- $(FIGURE)
