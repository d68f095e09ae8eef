# The targets that people and scripts use; `make help` lists them.
TARGET    := x86_64-unknown-linux-gnu
STATIC    := RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --target $(TARGET)
BIN       := target/bin

.PHONY: help build bench
help: ## Lists the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Builds static release binaries into target/bin
	$(STATIC) -p init -p bootctl -p proxyd -p demo-hello
	@mkdir -p $(BIN)
	@install -m 755 $(addprefix target/$(TARGET)/release/,init bootctl proxyd demo-hello) $(BIN)/

bench: build ## Measures side by side with today's best; FIGURE=name for one
	cargo run --release -q -p bench -- $(FIGURE)
