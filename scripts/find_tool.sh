# Sourced: finds a tool under its plain name or a versioned one (Debian's clang-14), newest first.

# usage: find_tool NAME; prints the command, or fails
find_tool() {
    local name=$1 version
    if command -v "$name" >/dev/null; then
        printf '%s\n' "$name"
        return
    fi
    for version in 22 21 20 19 18 17 16 15 14; do
        if command -v "$name-$version" >/dev/null; then
            printf '%s\n' "$name-$version"
            return
        fi
    done
    return 1
}
