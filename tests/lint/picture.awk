# The pictures of ARCHITECTURE.md, from the tree. Input: strip.awk's lines of the product. Output: the two blocks that stand
# between the markers there, each line preceded by its block's name and a tab.
#
#   processes  which role calls which function of a thing that processes share: an arrow for each role and direction
#   folders    which folder includes which, without the arrows that follow from others

BEGIN {
    thing_count = split("encoded batch snapshot peers ledger ctl", things, " ")
    title["encoded"] = "encoded ring<br>bytes of files"
    title["batch"] = "batch ring of each rank<br>uint8 pixels, labels"
    title["snapshot"] = "snapshot<br>weights, optimizer, position"
    title["peers"] = "table of peers<br>what ranks agree on"
    title["ledger"] = "ledger<br>each sample once"
    title["ctl"] = "control socket<br>ZeroMQ, JSON"
    # Functions that put something into a thing, and that take something out of it.
    into = " encoded_claim encoded_publish encoded_reject encoded_release batch_claim batch_commit batch_free snapshot_append snapshot_commit" \
        " ledger_enter peers_publish ctl_send "
    out = " encoded_take batch_done snapshot_read peers_look peers_exchange peers_await_position ctl_receive "
    role_count = split("reader fetcher augment trainer supervisor", roles, " ")
    program["reader"] = "imsuper-reader"
    program["fetcher"] = "imsuper-fetcher<br>of remote images"
    program["augment"] = "imsuper-augmenter"
    program["trainer"] = "imsuper-trainer<br>one a rank"
    program["supervisor"] = "supervisor (imsuper)<br>decides, adopts what runs"
}

function folder_of(path) {
    sub(/\/[^\/]*$/, "", path)
    return path
}

# main.c is above all folders of its role: its includes would hide the order of the others.
$3 ~ /^ *# *include *"/ {
    target = $3
    sub(/^ *# *include *"/, "", target)
    sub(/".*$/, "", target)
    from = folder_of($1)
    to = folder_of(target)
    seen[from] = 1
    if (target ~ /\//)
        seen[to] = 1
    if (target ~ /\// && from != to && $1 !~ /^[a-z]+\/main\.c$/)
        includes[from, to] = 1
    next
}

{
    role = $1
    sub(/\/.*$/, "", role)
    line = $3
    while (match(line, /im_[a-z]+_[a-z_]+ *\(/)) {
        name = substr(line, RSTART + 3, RLENGTH - 4)
        sub(/ +$/, "", name)
        line = substr(line, RSTART + RLENGTH)
        if (role in program && (index(into, " " name " ") || index(out, " " name " ")))
            calls[role, name] = 1
    }
}

function arrows(role, thing, list, forward,    n, names, i, verb, label) {
    n = split(list, names, " ")
    for (i = 1; i <= n; i++)
        if (index(names[i], thing "_") == 1 && ((role, names[i]) in calls)) {
            verb = substr(names[i], length(thing) + 2)
            gsub(/_/, " ", verb)
            label = label (label == "" ? "" : ", ") verb
        }
    if (label != "")
        print "processes\t  " (forward ? role " -->|" label "| " thing : thing " -->|" label "| " role)
}

function print_processes(    i, j) {
    print "processes\t```mermaid"
    print "processes\tflowchart LR"
    print "processes\t  files[(\"image files\")] -->|io_uring| reader"
    for (j = 1; j <= role_count; j++)
        print "processes\t  " roles[j] "[[\"" program[roles[j]] "\"]]"
    print "processes\t  warden[[\"warden (imsuper)<br>forks, holds descriptors\"]]"
    for (i = 1; i <= thing_count; i++)
        print "processes\t  " things[i] "(\"" title[things[i]] "\")"
    for (i = 1; i <= thing_count; i++)
        for (j = 1; j <= role_count; j++) {
            arrows(roles[j], things[i], into, 1)
            arrows(roles[j], things[i], out, 0)
        }
    print "processes\t  trainer -->|checkpoints, metrics| rundir[(\"run directory\")]"
    print "processes\t  supervisor -->|events, plots, table| rundir"
    print "processes\t  warden <-->|spawn, spawned, exited| supervisor"
    print "processes\t  warden -.->|exec| reader & fetcher & augment & trainer"
    print "processes\t  servers[(\"HTTP, S3 servers\")] --> fetcher"
    print "processes\t  fetcher -->|objects| cache[(\"cache on a local disk\")]"
    print "processes\t  cache --> reader"
    print "processes\t  supervisor -.->|returns the cells of the dead| encoded & batch"
    print "processes\t```"
}

# Whether `to` is reached from `from` over at least one other folder.
function indirectly(from, to,    f) {
    for (f in seen)
        if (f != from && f != to && ((from, f) in includes) && reaches(f, to, 0))
            return 1
    return 0
}

function reaches(from, to, depth,    f) {
    if ((from, to) in includes)
        return 1
    if (depth > 20)
        return 0
    for (f in seen)
        if (((from, f) in includes) && reaches(f, to, depth + 1))
            return 1
    return 0
}

function id(folder) {
    gsub(/\//, "_", folder)
    return folder
}

function print_folders(    n, names, i, j, f, t) {
    for (f in seen)
        names[++n] = f
    for (i = 2; i <= n; i++)
        for (j = i; j > 1 && names[j] < names[j - 1]; j--) {
            t = names[j]
            names[j] = names[j - 1]
            names[j - 1] = t
        }
    print "folders\t```mermaid"
    print "folders\tflowchart TB"
    for (i = 1; i <= n; i++)
        print "folders\t  " id(names[i]) "[\"" names[i] "/\"]"
    for (i = 1; i <= n; i++)
        for (j = 1; j <= n; j++)
            if (((names[i], names[j]) in includes) && !indirectly(names[i], names[j]))
                print "folders\t  " id(names[i]) " --> " id(names[j])
    print "folders\t```"
}

END {
    print_processes()
    print_folders()
}
