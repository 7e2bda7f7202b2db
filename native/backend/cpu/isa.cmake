# Compile flags per instruction set; see dispatch.h.
