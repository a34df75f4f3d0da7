module supreme.dev/tests/tools/pause

go 1.26
