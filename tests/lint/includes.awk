# Includes point one way. Input: strip.awk's lines. A quoted include is root-relative, exists, and lies in a folder that
# the including one may use; an angled one never names a folder of ours.
#
# may[FOLDER] lists the folders below it, itself left out. They form no circle, and neither do those of a role, which this
# checks before anything else. A role's main.c is above all folders of the role. A folder that is not listed counts as its parent.

BEGIN {
    base = "ipc/base"
    common = base " ipc/config ipc"
    may["ipc/base"] = ""
    may["ipc/config"] = base
    may["ipc"] = base " ipc/config"
    may["kernels"] = ""

    may["reader/dataset"] = common
    may["reader"] = common " reader/dataset augment/decode augment/transform"
    may["reader/tools"] = may["reader"] " reader"

    may["fetcher"] = may["reader"] " reader"

    may["augment/decode"] = common " kernels"
    may["augment/transform"] = common " kernels augment/decode"
    may["augment"] = common " kernels augment/decode augment/transform"
    may["augment/tools"] = may["augment"] " augment"

    below = common " kernels"
    may["trainer/backends"] = below
    may["trainer/comm"] = below
    may["trainer/model"] = below " trainer/backends"
    may["trainer/optim"] = below " trainer/backends"
    may["trainer/backends/ref"] = below " trainer/backends"
    may["trainer/backends/onednn"] = below " trainer/backends trainer/backends/ref"
    may["trainer/backends/cuda"] = below " trainer/backends trainer/comm"
    may["trainer/network"] = below " trainer/backends trainer/backends/cuda trainer/model"
    may["trainer/checkpoint"] = below " trainer/backends trainer/model trainer/optim trainer/network"
    may["trainer"] = may["trainer/checkpoint"] " trainer/backends/cuda trainer/comm trainer/checkpoint"
    may["trainer/export"] = may["trainer/checkpoint"] " trainer/checkpoint"
    may["trainer/tools"] = may["trainer"] " trainer trainer/export"

    may["supervisor/report"] = common
    may["supervisor/warden"] = common
    may["supervisor/cluster"] = common
    may["supervisor/top"] = common " supervisor/report"
    may["supervisor"] = common " supervisor/cluster supervisor/report supervisor/warden"
    may["supervisor/cli"] = may["supervisor"] " supervisor supervisor/top"

    for (folder in may)
        roles = roles " " folder
    may["tests"] = roles
    check_circles()
}

# Each folder's list must hold only folders that do not lead back to it.
function leads_to(from, to, depth,    list, n, i) {
    if (depth > 20)
        return 1
    n = split(may[from], list, " ")
    for (i = 1; i <= n; i++)
        if (list[i] == to || leads_to(list[i], to, depth + 1))
            return 1
    return 0
}

function check_circles(    folder) {
    for (folder in may)
        if (folder != "tests" && leads_to(folder, folder, 0))
            print "tests/lint/includes.awk:1: " folder " is part of a circle of folders"
}

# The longest listed folder that the path lies in; "" for a path that is not ours.
function folder_of(path,    folder) {
    folder = path
    while (sub(/\/[^\/]*$/, "", folder))
        if (folder in may)
            return folder
    return ""
}

function exists(path,    ignored, status) {
    if (!(path in known)) {
        status = (getline ignored < (root "/" path))
        known[path] = status >= 0
        close(root "/" path)
    }
    return known[path]
}

function is_allowed(from, to) {
    return from == to || index(" " may[from] " ", " " to " ") > 0
}

# main.c of a role is above the role's folders.
function is_main(path, to,    parts) {
    split(path, parts, "/")
    return path ~ /^[a-z]+\/main\.c$/ && index(to "/", parts[1] "/") == 1
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
    else if (!is_allowed(from, to) && !is_main($1, to))
        print $1 ":" $2 ": " from " must not include \"" target "\" (allowed: " may[from] ")"
}
