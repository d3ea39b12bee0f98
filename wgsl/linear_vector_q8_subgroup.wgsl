// linear_vector_q8.wgsl's product where subgroups have four lanes or more. On software adapters a load costs some 35 instructions
// per lane, whether lanes ask for the same or not, and a broadcast about one.
enable subgroups;
// links lib/int8_blocks.wgsl
// links lib/block_q8.wgsl
// links lib/codes_subgroup.wgsl
// links lib/half_q8_subgroup.wgsl
// links lib/activations.wgsl
// links lib/attended.wgsl
// links lib/parts.wgsl
