// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {DomainPart} from "./DomainPart.sol";
import {IAuthorityRegistry} from "./interfaces/IAuthorityRegistry.sol";
import {ITrustDomain} from "./interfaces/ITrustDomain.sol";

/// @title AuthorityRegistry
/// @notice The certificate authorities of a trust domain.
/// @dev Invariants:
/// I1. Only the governor registers.
/// I2. An authority's id is the SHA-256 of its public key; a key is registered once, for ever.
/// I3. Nothing of a registered authority ever changes, and none ever goes.
/// I4. The list holds every registered id once, in order: `authorityAt(0)` to `authorityAt(count() - 1)`.
/// I5. A parent was registered before its child, and is of the same kind; there is no cycle.
/// I6. Every registered authority is opened in the certificate registry, in the same transaction.
contract AuthorityRegistry is IAuthorityRegistry, DomainPart {
    uint256 internal constant MAXIMUM_PUBLIC_KEY_LENGTH = 1024;

    mapping(bytes32 ca => Authority) internal _authorities;
    bytes32[] internal _list;

    constructor(ITrustDomain domain_) DomainPart(domain_) {}

    /// @inheritdoc IAuthorityRegistry
    function register(
        Kind kind,
        bytes calldata publicKey,
        bytes32 issuerKey,
        bytes32 parent,
        address operator,
        uint24 maximumLifetime
    ) external returns (bytes32 ca) {
        require(_isGovernor(msg.sender), AuthorityRegistryUnauthorized(msg.sender));
        require(kind != Kind.Unregistered, AuthorityRegistryInvalidKind(uint8(kind)));
        require(
            publicKey.length > 0 && publicKey.length <= MAXIMUM_PUBLIC_KEY_LENGTH,
            AuthorityRegistryInvalidPublicKey(publicKey.length)
        );
        require(issuerKey != 0, AuthorityRegistryZeroIssuerKey());
        require(parent == 0 || _authorities[parent].kind == kind, AuthorityRegistryInvalidParent(parent));
        ca = sha256(publicKey);
        require(_authorities[ca].kind == Kind.Unregistered, AuthorityRegistryAlreadyRegistered(ca));

        _authorities[ca] = Authority({
            kind: kind,
            registeredAt: uint64(block.timestamp),
            issuerKey: issuerKey,
            parent: parent,
            publicKey: publicKey
        });
        _list.push(ca);
        emit AuthorityRegistered(ca, kind, parent, publicKey, issuerKey);

        domain.certificates().open(ca, operator, maximumLifetime);
    }

    /// @inheritdoc IAuthorityRegistry
    function authority(bytes32 ca) external view returns (Authority memory) {
        return _authorities[ca];
    }

    /// @inheritdoc IAuthorityRegistry
    function count() external view returns (uint256) {
        return _list.length;
    }

    /// @inheritdoc IAuthorityRegistry
    function authorityAt(uint256 index) external view returns (bytes32 ca) {
        return _list[index];
    }
}
