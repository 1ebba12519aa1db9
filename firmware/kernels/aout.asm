; The Multiboot kernel of multiboot.inc with its addresses in the Multiboot header: what the
; specification calls the a.out kludge.

%define AOUT
%include "kernels/multiboot.inc"
