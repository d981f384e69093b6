/* Muon's Newton-Schulz iteration (Keller Jordan 2024, "Muon: an optimizer for hidden layers in neural
 * networks"): a quintic polynomial that moves the singular values of a matrix of norm 1 to about 1, X -> a
 * X + (b A + c A^2) X with A = X X^T. The constants are those of torch.optim.Muon. */
#ifndef KERNELS_MUON_H
#define KERNELS_MUON_H

#define IMK_MUON_A 3.4445
#define IMK_MUON_B (-4.7750)
#define IMK_MUON_C 2.0315
#define IMK_MUON_STEPS 5
#define IMK_MUON_EPS 1e-7 /* the least norm that a matrix is divided by */

#endif
