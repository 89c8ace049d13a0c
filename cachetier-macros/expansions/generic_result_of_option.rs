pub(super) async fn rows<'a, T, const N: usize>(
    db: &'a Db,
    id: T,
    of: super::Table<N>,
) -> Result<Option<Vec<T>>, DbError>
where
    T: Value + KeyPart,
    Db: 'a,
{
    #[allow(unused_imports)]
    use crate::renamed::attribute::probes::*;
    #[allow(clippy::all, clippy::pedantic)]
    let __shape = (&&(&&&&crate::renamed::attribute::Probe::<
        Result<Option<Vec<T>>, DbError>,
    >::new())
        .shape())
        .checked();
    #[allow(clippy::all, clippy::pedantic)]
    let (__cache, __key) = {
        let __cache = crate::renamed::attribute::installed();
        fn __here() {}
        static __NAME: ::std::sync::LazyLock<crate::renamed::attribute::Name> = ::std::sync::LazyLock::new(||
        crate::renamed::attribute::Name::of(&__here, 0usize, "rows"));
        let mut __key = crate::renamed::KeyText::new();
        __key.literal(__NAME.text());
        __key.literal(":").part(crate::renamed::attribute::type_name::<T>());
        __key.literal(":").part(&N);
        __key.literal(":");
        __key.part(&id);
        __key.literal(":");
        __key.part(&of);
        if let ::std::option::Option::Some(__hit) = __shape.hit(&__cache, &__key) {
            return __hit;
        }
        (__cache.into_owned(), ::std::string::String::from(__key))
    };
    #[allow(clippy::all, clippy::pedantic)]
    let __rules = crate::renamed::attribute::rules(
        crate::renamed::Policy::ttl(::std::time::Duration::new(3600u64, 0u32)),
        ::std::vec![],
    );
    #[allow(clippy::all, clippy::pedantic)]
    let __sharing = crate::renamed::attribute::share_by(again);
    __shape
        .load(
            __cache,
            __key,
            __rules,
            __sharing,
            async move {
                if let ::std::option::Option::Some(__returned) = ::std::option::Option::None::<
                    Result<Option<Vec<T>>, DbError>,
                > {
                    return __returned;
                }
                #[allow(clippy::let_unit_value, clippy::diverging_sub_expression)]
                let __returned: Result<Option<Vec<T>>, DbError> = {
                    db.rows(id, of).await
                };
                #[allow(unreachable_code)] return __returned;
            },
        )
        .await
}
///What belongs to [`rows`](fn@rows): its keys.
pub(super) mod of_rows {
    #[allow(unused_imports)]
    use super::*;
    ///Returns the key under which a call of [`rows`](fn@super::rows) with these arguments is cached.
    #[must_use]
    #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
    pub(in super::super) fn key<T, const N: usize>(
        id: T,
        of: super::super::Table<N>,
    ) -> ::std::string::String
    where
        T: Value + KeyPart,
    {
        ::std::string::String::from({
            fn __here() {}
            static __NAME: ::std::sync::LazyLock<crate::renamed::attribute::Name> = ::std::sync::LazyLock::new(||
            crate::renamed::attribute::Name::of(&__here, 1usize, "rows"));
            let mut __key = crate::renamed::KeyText::new();
            __key.literal(__NAME.text());
            __key.literal(":").part(crate::renamed::attribute::type_name::<T>());
            __key.literal(":").part(&N);
            __key.literal(":");
            __key.part(&id);
            __key.literal(":");
            __key.part(&of);
            __key
        })
    }
    ///Invalidates what a call of [`rows`](fn@super::rows) with these arguments has cached, in every instance.
    ///
    /// # Errors
    ///
    /// Those of an invalidation of the key; and that there is no cache.
    #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
    pub(in super::super) async fn invalidate<T, const N: usize>(
        id: T,
        of: super::super::Table<N>,
    ) -> ::std::result::Result<crate::renamed::Delivery, crate::renamed::CacheError>
    where
        T: Value + KeyPart,
    {
        let __key = {
            fn __here() {}
            static __NAME: ::std::sync::LazyLock<crate::renamed::attribute::Name> = ::std::sync::LazyLock::new(||
            crate::renamed::attribute::Name::of(&__here, 1usize, "rows"));
            let mut __key = crate::renamed::KeyText::new();
            __key.literal(__NAME.text());
            __key.literal(":").part(crate::renamed::attribute::type_name::<T>());
            __key.literal(":").part(&N);
            __key.literal(":");
            __key.part(&id);
            __key.literal(":");
            __key.part(&of);
            __key
        };
        let __cache = crate::renamed::attribute::installed();
        crate::renamed::attribute::invalidate(&__cache, &__key).await
    }
}
