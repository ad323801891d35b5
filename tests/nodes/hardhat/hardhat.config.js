// hardhat starts nothing without one. Blocks are as in its own default: the tests say when there are none.
module.exports = { solidity: "0.8.30", networks: { hardhat: { initialBaseFeePerGas: 1_000_000_000 } } };
