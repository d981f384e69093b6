int im_ring;
