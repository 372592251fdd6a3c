// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title IAuthorityRegistry
/// @notice Which certificate authorities (CAs) a trust domain has, and what can never change about each.
/// @dev What does change (operator, state, serials) is in the certificate registry.
interface IAuthorityRegistry {
    /// @notice What an authority signs. One key signs one kind.
    enum Kind {
        Unregistered,
        SshUser,
        SshHost,
        Tls
    }

    /// @notice An authority, as registered. Nothing of it ever changes.
    /// @dev `kind` and `registeredAt` share the first word, `kind` lowest.
    /// @param kind What it signs.
    /// @param registeredAt Time of the block that registered it.
    /// @param issuerKey X25519 public key that locators are unmasked with.
    /// @param parent The authority that certified this one, or zero.
    /// @param publicKey SubjectPublicKeyInfo, DER.
    struct Authority {
        Kind kind;
        uint64 registeredAt;
        bytes32 issuerKey;
        bytes32 parent;
        bytes publicKey;
    }

    /// @notice An authority was registered.
    /// @param ca Its id: SHA-256 of `publicKey`.
    /// @param kind What it signs.
    /// @param parent The authority that certified it, or zero.
    /// @param publicKey SubjectPublicKeyInfo, DER.
    /// @param issuerKey X25519 public key that locators are unmasked with.
    event AuthorityRegistered(
        bytes32 indexed ca, Kind indexed kind, bytes32 indexed parent, bytes publicKey, bytes32 issuerKey
    );

    /// @notice The caller is not the governor.
    error AuthorityRegistryUnauthorized(address caller);

    /// @notice An authority has to sign something: the kind is `Unregistered`.
    error AuthorityRegistryInvalidKind(uint8 kind);

    /// @notice The public key is empty or longer than 1,024 bytes.
    error AuthorityRegistryInvalidPublicKey(uint256 length);

    /// @notice This key was registered before. A key is registered once, for ever.
    error AuthorityRegistryAlreadyRegistered(bytes32 ca);

    /// @notice The parent is not registered, or is of another kind.
    error AuthorityRegistryInvalidParent(bytes32 parent);

    /// @notice Without an issuer key no device could unmask its locator.
    error AuthorityRegistryZeroIssuerKey();

    /// @notice Registers an authority and opens it for issuing.
    /// @dev Only the governor. The chain can not tell whether `publicKey` is the canonical encoding of a key; every
    /// reader does, and refuses the authority otherwise.
    /// @param kind What it signs.
    /// @param publicKey SubjectPublicKeyInfo, DER, 1 to 1,024 bytes.
    /// @param issuerKey X25519 public key that locators are unmasked with; fixed for the authority's life.
    /// @param parent A registered authority of the same kind, or zero.
    /// @param operator Who may issue with it.
    /// @param maximumLifetime The furthest that a certificate's end may lie ahead when it is issued, in minutes.
    /// @return ca The authority's id: SHA-256 of `publicKey`.
    function register(
        Kind kind,
        bytes calldata publicKey,
        bytes32 issuerKey,
        bytes32 parent,
        address operator,
        uint24 maximumLifetime
    ) external returns (bytes32 ca);

    /// @notice The authority with the id `ca`; all zero when there is none.
    function authority(bytes32 ca) external view returns (Authority memory);

    /// @notice How many authorities were ever registered.
    function count() external view returns (uint256);

    /// @notice The id of the `index`-th authority, in order of registration, from zero.
    function authorityAt(uint256 index) external view returns (bytes32 ca);
}
