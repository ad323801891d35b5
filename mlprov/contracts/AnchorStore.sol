// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// When an account first showed a 32-byte digest. Written once: nobody, the account included, can
/// change or take back an entry, and nobody can write one for another account.
contract AnchorStore {
    /// Block time in seconds of the first call by sender with root; 0 where there was none.
    mapping(address sender => mapping(bytes32 root => uint256 time)) public firstSeen;

    /// Emitted once for each sender and root. docs/format.md section 14 depends on this signature.
    event Anchored(address indexed sender, bytes32 indexed root, uint256 time);

    /// A repeat changes nothing, emits nothing and succeeds: whoever tries again need not ask first.
    function anchor(bytes32 root) external {
        if (firstSeen[msg.sender][root] != 0) return;
        firstSeen[msg.sender][root] = block.timestamp;
        emit Anchored(msg.sender, root, block.timestamp);
    }
}
