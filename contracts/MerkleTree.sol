// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title MerkleTree
/// @notice The Merkle tree over a batch's certificates: RFC 6962's shape (section 2.1), with Keccak-256.
/// @dev Level by level, neighbours are joined and an odd last node moves up unchanged. What is hashed begins with a
/// byte that says what it is, so that no node can pass for a leaf, nor a commitment for either.
library MerkleTree {
    bytes1 internal constant LEAF = 0x00;
    bytes1 internal constant NODE = 0x01;
    bytes1 internal constant COMMITMENT = 0x02;

    /// @dev The leaf of a certificate. `context` says of which chain, registry and authority.
    function leaf(bytes32 context, uint32 serial, uint256 subject, bytes32 certificateHash)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encodePacked(LEAF, context, serial, subject, certificateHash));
    }

    /// @dev The node above two neighbours.
    function node(bytes32 left, bytes32 right) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(NODE, left, right));
    }

    /// @dev The word that stands for a whole tree: its root and how many leaves it has.
    function commit(bytes32 root_, uint32 count) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(COMMITMENT, root_, count));
    }

    /// @dev The root over `nodes`, at least one. Works in place: `nodes` is worthless afterwards.
    function root(bytes32[] memory nodes) internal pure returns (bytes32) {
        uint256 width = nodes.length;
        while (width > 1) {
            uint256 pairs = width / 2;
            for (uint256 i = 0; i < pairs; ++i) {
                nodes[i] = node(nodes[2 * i], nodes[2 * i + 1]);
            }
            if (width % 2 == 1) nodes[pairs] = nodes[width - 1];
            width = pairs + width % 2;
        }
        return nodes[0];
    }

    /// @dev The root that `path` leads to from the leaf at `index` of `count`, or zero when the path has not exactly as
    /// many siblings as that position asks for. No tree has the root zero.
    function climb(bytes32 leaf_, uint256 index, uint256 count, bytes32[] calldata path)
        internal
        pure
        returns (bytes32 reached)
    {
        reached = leaf_;
        uint256 used = 0;
        for (uint256 width = count; width > 1; width = (width + 1) / 2) {
            bool oddLast = index == width - 1 && width % 2 == 1;
            if (!oddLast) {
                if (used == path.length) return 0;
                bytes32 sibling = path[used++];
                reached = index % 2 == 0 ? node(reached, sibling) : node(sibling, reached);
            }
            index /= 2;
        }
        if (used != path.length) return 0;
    }
}
