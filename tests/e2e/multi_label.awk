# Pictures with any number of coloured squares, as PPM files below DIR, and DIR/train.csv, val.csv with their labels:
#
#   awk -v dir=DIR -v train=N -v val=N [-v flags=1] -f multi_label.awk
#
# Rows are "file,red|blue"; with flags "file,red,green,blue,yellow" of 0 and 1. Labels: four colours, each on 40 % of the pictures.
function draw(part, n, table,   i, k, x, y, s, x0, y0, pixel, names, row, path, any) {
  print (flags ? "file,red,green,blue,yellow" : "file,labels") > table
  for (i = 0; i < n; i++) {
    path = part "_" i ".ppm"
    s = int(60 + 80 * rand())
    for (y = 0; y < SIDE; y++)
      for (x = 0; x < SIDE; x++) pixel[y, x] = (s + int(20 * rand())) " " (s + int(20 * rand())) " " (s + int(20 * rand()))
    names = row = ""
    for (k = 1; k <= 4; k++) {
      any = rand() < 0.4
      row = row "," (any ? 1 : 0)
      if (!any) continue
      names = names (names == "" ? "" : "|") name[k]
      x0 = int(rand() * (SIDE - 9))
      y0 = int(rand() * (SIDE - 9))
      for (y = y0; y < y0 + 9; y++)
        for (x = x0; x < x0 + 9; x++) pixel[y, x] = colour[k]
    }
    print "P3\n" SIDE " " SIDE "\n255" > (dir "/images/" path)
    for (y = 0; y < SIDE; y++)
      for (x = 0; x < SIDE; x++) print pixel[y, x] > (dir "/images/" path)
    close(dir "/images/" path)
    print path (flags ? row : "," names) > table
  }
  close(table)
}

BEGIN {
  SIDE = 24
  srand(7)
  split("red green blue yellow", name, " ")
  colour[1] = "230 30 30"
  colour[2] = "30 210 40"
  colour[3] = "40 60 230"
  colour[4] = "230 220 30"
  draw("train", train, dir "/train.csv")
  draw("val", val, dir "/val.csv")
}
