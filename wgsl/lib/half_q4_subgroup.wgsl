// What lanes 0 to 3 of a subgroup have, for all of it: which lane is to be a constant.
fn from_0(own: Half) -> Half { return Half(subgroupBroadcast(own.even, 0u), subgroupBroadcast(own.odd, 0u)); }
fn from_1(own: Half) -> Half { return Half(subgroupBroadcast(own.even, 1u), subgroupBroadcast(own.odd, 1u)); }
fn from_2(own: Half) -> Half { return Half(subgroupBroadcast(own.even, 2u), subgroupBroadcast(own.odd, 2u)); }
fn from_3(own: Half) -> Half { return Half(subgroupBroadcast(own.even, 3u), subgroupBroadcast(own.odd, 3u)); }
