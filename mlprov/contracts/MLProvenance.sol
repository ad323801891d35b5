// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// The interface of the first design of blockchain provenance (storeHash, verifyHash, storedHashes,
/// timestamps, metadata, HashStored), with two defects mended: only an authorised account stores, and
/// what is stored is never overwritten.
contract MLProvenance {
    address public immutable owner;
    mapping(address account => bool) public authorised;
    mapping(bytes32 merkleRoot => uint256 time) public timestamps;
    mapping(bytes32 merkleRoot => string text) public metadata;

    /// docs/format.md section 14 depends on this signature.
    event HashStored(bytes32 indexed merkleRoot, string metadata, uint256 timestamp);
    event Authorised(address indexed account, bool allowed);

    error NotAuthorised(address account);
    error StoredWithOtherMetadata(bytes32 merkleRoot);

    constructor() {
        owner = msg.sender;
        authorised[msg.sender] = true;
        emit Authorised(msg.sender, true);
    }

    function authorise(address account, bool allowed) external {
        if (msg.sender != owner) revert NotAuthorised(msg.sender);
        authorised[account] = allowed;
        emit Authorised(account, allowed);
    }

    /// A repeat with the same metadata changes nothing, emits nothing and succeeds; with other
    /// metadata it fails, because it would not be stored.
    function storeHash(bytes32 merkleRoot, string calldata metadataStr) external {
        if (!authorised[msg.sender]) revert NotAuthorised(msg.sender);
        if (timestamps[merkleRoot] != 0) {
            if (keccak256(bytes(metadata[merkleRoot])) != keccak256(bytes(metadataStr)))
                revert StoredWithOtherMetadata(merkleRoot);
            return;
        }
        timestamps[merkleRoot] = block.timestamp;
        if (bytes(metadataStr).length != 0) metadata[merkleRoot] = metadataStr;
        emit HashStored(merkleRoot, metadataStr, block.timestamp);
    }

    function verifyHash(bytes32 merkleRoot) external view returns (bool) {
        return timestamps[merkleRoot] != 0;
    }

    function storedHashes(bytes32 merkleRoot) external view returns (bool) {
        return timestamps[merkleRoot] != 0;
    }
}
