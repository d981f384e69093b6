# Includes point one way. Input: strip.awk's lines. A quoted include is root-relative, exists, and lies in a folder that
# the including one may use; an angled one never names a folder of ours.

BEGIN {
    may["ipc/base"] = "ipc/base"
    may["ipc"] = "ipc/base ipc"
    may["kernels"] = "kernels"
    may["reader"] = "ipc/base ipc reader"
    may["augment"] = "ipc/base ipc kernels augment"
    may["trainer"] = "ipc/base ipc kernels trainer"
    may["supervisor"] = "ipc/base ipc supervisor"
    may["tests"] = "ipc/base ipc kernels reader augment trainer supervisor tests"
}

function folder_of(path,    parts) {
    split(path, parts, "/")
    if (path ~ /^ipc\/base\//)
        return "ipc/base"
    return (parts[1] in may && path ~ /\//) ? parts[1] : ""
}

function exists(path,    ignored, status) {
    if (!(path in known)) {
        status = (getline ignored < (root "/" path))
        known[path] = status >= 0
        close(root "/" path)
    }
    return known[path]
}

$3 ~ /^ *# *include/ {
    quoted = $3 ~ /include *"/
    target = $3
    sub(/^ *# *include *["<]/, "", target)
    sub(/[">].*$/, "", target)
    from = folder_of($1)
    to = folder_of(target)
    if (!quoted && to != "" && exists(target))
        print $1 ":" $2 ": <" target "> is ours: use quotes"
    if (!quoted)
        next
    if (to == "" || !exists(target))
        print $1 ":" $2 ": \"" target "\" is not a path from the root of the project"
    else if (index(" " may[from] " ", " " to " ") == 0)
        print $1 ":" $2 ": " from " must not include \"" target "\" (allowed: " may[from] ")"
}
