#!/usr/bin/env bash
# Man pages and shell completion of an installed tree: there is a page for each verb of the overview, with every flag that its --help
# has; man finds nothing to warn of, where there is one. Completion is asked in bash as a line editor asks it; zsh and fish
# read theirs, where they are installed.
#
#   documents.sh CMAKE BUILD
# shellcheck source-path=SCRIPTDIR source=../e2e/lib.sh
cmake=${1:?cmake} build=${2:?build}
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh" "" "" documents

"$cmake" --install "$build" --prefix "$T/prefix" >"$T/out" 2>&1 || fail "cmake --install"
BIN=$T/prefix/bin share=$T/prefix/share
PATH=$BIN:$PATH

verbs() { imsuper help | sed -nE 's/^([A-Z][a-z]+)? +((data|bench|profile) [a-z]+|[a-z-]+)(  .*)$/\2/p'; }
flags() { imsuper "$@" --help | grep -oE '^ {2,6}(-[a-z], )?--(\[no-\])?[a-z0-9.-]+' | sed -E 's/.*--(\[no-\])?/--/'; }

# --- man pages --------------------------------------------------------------------------------------------------------

mkdir "$T/pages"
cp "$share"/man/man1/imsuper*.1* "$T/pages/"
gzip -d "$T"/pages/*.gz 2>/dev/null || true # packed where there is gzip
has_sections() { # FILE
  for section in "TH IMSUPER" "SH NAME" "SH SYNOPSIS" "SH DESCRIPTION" "SH EXIT STATUS"; do
    grep -q "^\.$section" "$1" || fail "$1 has no .$section"
  done
}
# same_flags VERB...: what --help shows is on the page.
same_flags() {
  comm -23 <(flags "$@" | sort -u) <(sed -E 's/\\f[A-Z]//g; s/\\-/-/g; s/\[no-\]//g; s/^-[a-z], //; s/ .*//' "$page" | sort) >"$T/out"
  [ ! -s "$T/out" ] || fail "flags that the page of $* does not have"
}
# examples_work VERB...: the page has some, with flags that the verb has.
examples_work() {
  sed -n '/^\.SH EXAMPLES/,/^\.SH EXIT/p' "$page" | sed -n 's/^\.B //p' | sed 's/\\-/-/g; s/\\(aq/'"'"'/g' >"$T/examples"
  grep -q "imsuper $*" "$T/examples" || fail "the page of $* has no example"
  comm -23 <(grep -o 'imsuper .*' "$T/examples" | grep -oE -- ' --[a-z-]+' | tr -d ' ' | sort -u) <(flags "$@" | sort -u) >"$T/out"
  [ ! -s "$T/out" ] || fail "examples of $* have flags that it does not have"
}
[ "$(flags start | wc -l)" -gt 100 ] || fail "--help shows too few flags"
count=0
while read -ra verb; do
  page=$T/pages/$(IFS=- && echo "imsuper-${verb[*]}").1
  [ -s "$page" ] || fail "no page of ${verb[*]}"
  has_sections "$page"
  same_flags "${verb[@]}"
  examples_work "${verb[@]}"
  count=$((count + 1))
done < <(verbs)
[ "$count" -gt 30 ] || fail "only $count verbs"
has_sections "$T/pages/imsuper.1"
for role in reader fetcher augmenter trainer; do grep -qx '\.so man1/imsuper\.1' "$T/pages/imsuper-$role.1" || fail "no page of imsuper-$role"; done
if command -v groff >/dev/null; then
  (cd "$share/man" && groff -man -ww -rLL=78n -Tutf8 -z "$T"/pages/imsuper-[bdelps]*.1 "$T/pages/imsuper.1") >"$T/out" 2>&1 || fail "groff cannot read the pages"
  [ ! -s "$T/out" ] || fail "groff warns"
fi
if command -v man >/dev/null && command -v groff >/dev/null; then
  LC_ALL=C.UTF-8 MANWIDTH=80 man --warnings -l "$T/pages/imsuper-start.1" >"$T/shown" 2>"$T/out" || fail "man cannot show imsuper-start.1"
  [ ! -s "$T/out" ] || fail "man warns of imsuper-start.1"
  grep -q 'imsuper-start - train, or continue' "$T/shown" || fail "man shows something else"
fi

for file in README.md NEWS.md docs/getting-started.md docs/using.md examples/slurm.sbatch; do
  [ -s "$share/doc/imsuper/$file" ] || fail "$file is not installed"
done

# --- bash -------------------------------------------------------------------------------------------------------------

# shellcheck source=/dev/null
. "$share/bash-completion/completions/imsuper"
complete -p imsuper | grep -q -- '-F _imsuper imsuper' || fail "bash has no completion of imsuper"
complete_line() { # WORD...: what the last one can become, one a line
  COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
  _imsuper imsuper "${!#}" ""
  printf '%s\n' "${COMPREPLY[@]}"
}
offers() { # EXPECTED... -- WORD...
  local expected=()
  while [ "$1" != -- ]; do expected+=("$1") && shift; done
  shift
  complete_line "$@" >"$T/offered"
  diff <(printf '%s\n' "${expected[@]}") "$T/offered" >"$T/out" || fail "completion of: $*"
}
includes() { # EXPECTED WORD...
  complete_line "${@:2}" >"$T/out"
  grep -qxF -- "$1" "$T/out" || fail "completion of '${*:2}' offers no $1"
}
cd "$T" && mkdir -p runs/one runs/other w/third images && touch weights.pt
includes start imsuper st
includes status imsuper st
offers preview -- imsuper data pr
offers data -- imsuper da
includes trainer imsuper bench ""
offers --data-dir -- imsuper start --data-d
includes --no-drop-last imsuper start --no-
offers bf16 -- imsuper start --amp b
offers bf16 -- imsuper start --amp = b
offers none bf16 fp16 auto -- imsuper start --amp =
offers images -- imsuper start --data-dir im
offers one other -- imsuper status o
offers third -- imsuper status --workspace w th
offers quickstart -- imsuper start --recipe q
offers quickstart -- imsuper recipes q
offers weights.pt -- imsuper model --init-from we
offers weights.pt -- imsuper eval we
offers reader -- imsuper restart r
offers index -- imsuper help data i
offers "" -- imsuper start --epochs ""
while read -ra verb; do
  comm -23 <(flags "${verb[@]}" | sort -u) <(complete_line imsuper "${verb[@]}" - | sort) >"$T/out"
  [ ! -s "$T/out" ] || fail "flags that completion of imsuper ${verb[*]} does not have"
done < <(verbs)

# --- others -----------------------------------------------------------------------------------------------------------

if command -v zsh >/dev/null; then
  zsh -n "$share/zsh/vendor-completions/_imsuper" >"$T/out" 2>&1 || fail "zsh cannot read its completion"
fi
if command -v fish >/dev/null; then
  fish -n "$share/fish/vendor_completions.d/imsuper.fish" >"$T/out" 2>&1 || fail "fish cannot read its completion"
  fish -N -c "source $share/fish/vendor_completions.d/imsuper.fish; complete -C 'imsuper start --amp b'" >"$T/out" 2>&1
  grep -qx 'bf16.*' "$T/out" || fail "fish offers no bf16"
  fish -N -c "source $share/fish/vendor_completions.d/imsuper.fish; complete -C 'imsuper data pr'" >"$T/out" 2>&1
  grep -q '^preview' "$T/out" || fail "fish offers no data preview"
fi
