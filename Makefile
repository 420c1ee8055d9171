# Thin: every target is a command of crates/xtask, which says what it does.
TARGETS := build test demo bench image lint clean setup

.PHONY: $(TARGETS)
$(TARGETS):
	@./.ci/bootstrap
	@cargo run --quiet -p xtask -- $@
