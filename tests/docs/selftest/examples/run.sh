imsuper start --data-dir "$1" \
  --no-such-line 3 || exit
srun imsuper no-such-example
