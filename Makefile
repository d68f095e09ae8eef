# The targets that people and scripts use; `make help` lists them.
TARGET    := x86_64-unknown-linux-gnu
STATIC    := RUSTFLAGS="-C target-feature=+crt-static" cargo build --target $(TARGET)
BIN       := target/bin

.PHONY: help build
help: ## Lists the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Builds static release binaries into target/bin
	$(STATIC) --profile small -p init
	$(STATIC) --release -p bootctl -p proxyd -p demo-hello
	@mkdir -p $(BIN)
	@install -m 755 target/$(TARGET)/small/init $(BIN)/
	@install -m 755 $(addprefix target/$(TARGET)/release/,bootctl proxyd demo-hello) $(BIN)/
