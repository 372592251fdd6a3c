// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title IDeviceRegistry
/// @notice Which devices belong to a trust domain, and the digest of each one's key document.
/// @dev A device is the address of its secp256k1 identity key. It never sends a transaction: it signs EIP-712 messages
/// (domain name "dpki DeviceRegistry", version "1") that others bring. Signatures are 65 bytes, r ‖ s ‖ v, with low s.
interface IDeviceRegistry {
    /// @notice Where a device stands. Retired is for ever.
    enum State {
        Unregistered,
        Active,
        Retired
    }

    /// @notice A device.
    /// @dev `state` and `nonce` share the second word, `state` lowest.
    /// @param keyDocument SHA-256 of its key document.
    /// @param state Where it stands.
    /// @param nonce How many signatures of it were used: 0 before enrolment, 1 after, one more after each update.
    struct Device {
        bytes32 keyDocument;
        State state;
        uint64 nonce;
    }

    /// @notice What a device signed: to be enrolled, or to replace its key document.
    /// @param device The device.
    /// @param keyDocument SHA-256 of its key document.
    /// @param deadline The last second, since 1970, in which the signature is good.
    /// @param signature The device's; see `enroll` and `update`.
    struct Request {
        address device;
        bytes32 keyDocument;
        uint256 deadline;
        bytes signature;
    }

    /// @notice A device was enrolled.
    event DeviceEnrolled(address indexed device, bytes32 keyDocument, address indexed registrar);

    /// @notice A device replaced its key document, with the signature that used up nonce `nonce`.
    event KeyDocumentUpdated(address indexed device, bytes32 keyDocument, uint64 nonce);

    /// @notice A device was retired, for ever.
    event DeviceRetired(address indexed device, address indexed registrar);

    /// @notice `registrar` may now enrol and retire devices, or no longer may.
    event RegistrarChanged(address indexed registrar, bool allowed);

    /// @notice The caller does not hold the role that the function asks for.
    error DeviceRegistryUnauthorized(address caller);

    /// @notice The device was enrolled before. A device is enrolled once; a retired one never comes back.
    error DeviceRegistryAlreadyEnrolled(address device);

    /// @notice The device was never enrolled, or is retired.
    error DeviceRegistryNotActive(address device, State state);

    /// @notice The signature was good up to and including `deadline`, which has passed.
    error DeviceRegistryExpiredSignature(uint256 deadline);

    /// @notice This is not the device's signature of this message: of another device, chain, contract, nonce, document
    /// or deadline, or not 65 bytes with low s.
    error DeviceRegistryInvalidSignature(address device);

    /// @notice The key document's digest is zero.
    error DeviceRegistryZeroKeyDocument(address device);

    /// @notice Enrols a device.
    /// @dev Only a registrar.
    /// @param device The device.
    /// @param keyDocument SHA-256 of its key document.
    /// @param deadline The last second, since 1970, in which the signature is good.
    /// @param signature The device's, of
    /// `Enrollment(address device,bytes32 keyDocument,uint256 nonce,uint256 deadline)` with nonce 0.
    function enroll(address device, bytes32 keyDocument, uint256 deadline, bytes calldata signature) external;

    /// @notice Enrols several devices: all of them or none.
    /// @dev Only a registrar.
    /// @param requests As for `enroll`.
    function enrollBatch(Request[] calldata requests) external;

    /// @notice Replaces a device's key document.
    /// @dev Anyone may bring the device's signature.
    /// @param device The device.
    /// @param keyDocument SHA-256 of the new key document.
    /// @param deadline The last second, since 1970, in which the signature is good.
    /// @param signature The device's, of
    /// `KeyDocumentUpdate(address device,bytes32 keyDocument,uint256 nonce,uint256 deadline)` with its present nonce.
    function update(address device, bytes32 keyDocument, uint256 deadline, bytes calldata signature) external;

    /// @notice Replaces several devices' key documents: all of them or none.
    /// @dev Anyone may bring the devices' signatures.
    /// @param requests As for `update`.
    function updateBatch(Request[] calldata requests) external;

    /// @notice Retires a device, for ever.
    /// @dev Only a registrar.
    function retire(address device) external;

    /// @notice Lets `registrar` enrol and retire devices, or takes that from it.
    /// @dev Only the governor.
    function setRegistrar(address registrar, bool allowed) external;

    /// @notice The device with the address `account`; all zero when there is none.
    function device(address account) external view returns (Device memory);

    /// @notice Whether `account` may enrol and retire devices.
    function isRegistrar(address account) external view returns (bool);
}
